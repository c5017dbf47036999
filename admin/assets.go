package admin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"path"
	"strings"
)

//go:embed assets
var files embed.FS

// asset is a file that browsers may keep for ever: its address changes with it.
type asset struct {
	contentType string
	data        []byte
}

var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// loadAssets reads what is embedded: assets by their addresses' last parts, and
// the templates, in which {{asset "style.css"}} is an address.
func loadAssets() (map[string]asset, *template.Template, error) {
	assets, addresses := map[string]asset{}, map[string]string{}
	entries, err := files.ReadDir("assets")
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		kind := path.Ext(e.Name())
		if contentTypes[kind] == "" {
			continue
		}
		data, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, nil, err
		}
		sum := sha256.Sum256(data)
		name := strings.TrimSuffix(e.Name(), kind) + "." + hex.EncodeToString(sum[:6]) + kind
		assets[name] = asset{contentTypes[kind], data}
		addresses[e.Name()] = "/assets/" + name
	}
	pages, err := template.New("").Funcs(template.FuncMap{
		"asset":    func(name string) string { return addresses[name] },
		"onBadge":  func() badge { return badge{"✓", "on", "good"} },
		"offBadge": func() badge { return badge{"!", "off", "warn"} },
		"versions": func(name string, rows []versionRow) any {
			return struct {
				Name string
				Rows []versionRow
			}{name, rows}
		},
	}).ParseFS(files, "assets/*.html")
	return assets, pages, err
}

func (h *handler) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := h.assets[r.PathValue("name")]
	if !ok {
		h.fail(w, r, http.StatusNotFound, "no such file")
		return
	}
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.data) // who has gone does not read it
}
