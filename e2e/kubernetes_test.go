package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// manifest is one object of deploy/kubernetes.
type manifest struct {
	file string // below deploy/kubernetes
	metav1.TypeMeta
	name   string
	object any // a pointer to one of kinds, or what foreign says
}

func (m manifest) String() string { return m.file + ": " + m.Kind + " " + m.name }

// patch tells whether it goes onto an object of Chipster's chart, and so is not whole.
func (m manifest) patch() bool { return m.file == "chipster/sidecar.yaml" }

// kinds are those of Kubernetes itself that the manifests use.
var kinds = map[string]func() metav1.Object{
	"v1 ConfigMap":                       func() metav1.Object { return new(corev1.ConfigMap) },
	"v1 Secret":                          func() metav1.Object { return new(corev1.Secret) },
	"v1 Service":                         func() metav1.Object { return new(corev1.Service) },
	"v1 PersistentVolumeClaim":           func() metav1.Object { return new(corev1.PersistentVolumeClaim) },
	"apps/v1 StatefulSet":                func() metav1.Object { return new(appsv1.StatefulSet) },
	"apps/v1 Deployment":                 func() metav1.Object { return new(appsv1.Deployment) },
	"batch/v1 Job":                       func() metav1.Object { return new(batchv1.Job) },
	"batch/v1 CronJob":                   func() metav1.Object { return new(batchv1.CronJob) },
	"networking.k8s.io/v1 NetworkPolicy": func() metav1.Object { return new(networkingv1.NetworkPolicy) },
}

// serviceMonitor is what firn uses of the Prometheus operator's kind.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port, Path, Interval string
			Authorization        struct {
				Type        string
				Credentials corev1.SecretKeySelector
			}
		} `json:"endpoints"`
	} `json:"spec"`
}

// decodeManifests reads a file as the API server would with --validate=strict:
// fields that are unknown, written in another case, or there twice are errors.
func decodeManifests(file string, data []byte) (all []manifest, err error) {
	for i, document := range bytes.Split(append([]byte("\n"), data...), []byte("\n---\n")) {
		fail := func(err error) ([]manifest, error) {
			return nil, fmt.Errorf("%s, document %d: %w", file, i+1, err)
		}
		m := manifest{file: file}
		if err := yaml.Unmarshal(document, &m.TypeMeta); err != nil {
			return fail(err)
		}
		id := m.APIVersion + " " + m.Kind
		var object metav1.Object
		if id == "monitoring.coreos.com/v1 ServiceMonitor" {
			object = new(serviceMonitor)
			err = yaml.UnmarshalStrict(document, object)
		} else if known, ok := kinds[id]; ok {
			object = known()
			err = unmarshalStrict(document, object)
		} else {
			err = fmt.Errorf("%q is no kind that this test knows", id)
		}
		if err != nil {
			return fail(err)
		}
		if m.object, m.name = object, object.GetName(); m.name == "" || object.GetNamespace() != "" {
			return fail(errors.New("it needs a name, and no namespace"))
		}
		all = append(all, m)
	}
	return all, nil
}

func unmarshalStrict(document []byte, v any) error {
	j, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return err
	}
	strict, err := strictjson.UnmarshalStrict(j, v)
	return errors.Join(append(strict, err)...)
}

// manifestTexts are the files of deploy/kubernetes that hold objects.
func manifestTexts(t testing.TB) map[string]string {
	t.Helper()
	texts := map[string]string{}
	root := filepath.Join(project, "deploy", "kubernetes")
	files, err := filepath.Glob(filepath.Join(root, "*", "*.yaml"))
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		name, err := filepath.Rel(root, file)
		must(t, err)
		if filepath.Base(name) != "kustomization.yaml" {
			texts[name] = string(text)
		}
	}
	if len(texts) < 15 {
		t.Fatalf("only %d files in %s", len(texts), root)
	}
	return texts
}

func readManifests(t testing.TB) []manifest {
	t.Helper()
	all, err := decodeAll(manifestTexts(t))
	must(t, err)
	return all
}

func decodeAll(texts map[string]string) (all []manifest, err error) {
	for file, text := range texts {
		some, err := decodeManifests(file, []byte(text))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b manifest) int { return strings.Compare(a.String(), b.String()) })
	return all, nil
}

// object returns the one of a type and a name, or nil.
func object[T any](all []manifest, name string) *T {
	for _, m := range all {
		if o, ok := m.object.(*T); ok && m.name == name {
			return o
		}
	}
	return nil
}

// Every object is what Kubernetes takes, and keeps the rules that rulesOf lists.
func TestKubernetesManifests(t *testing.T) {
	t.Parallel()
	all := readManifests(t)
	for _, problem := range problemsOf(all, chartSecrets(t)) {
		t.Error(problem)
	}
	count := 0
	for _, w := range workloadsOf(all) {
		count += len(w.pod.Spec.Containers)
	}
	if count < 5 {
		t.Errorf("only %d containers", count)
	}
}

// What the test above looks for, it finds.
func TestKubernetesManifestsThatAreWrong(t *testing.T) {
	t.Parallel()
	const files, sidecar, databases = "files/statefulset.yaml", "chipster/sidecar.yaml", "databases/deployment.yaml"
	const archive = "archiver/cronjob-archive.yaml"
	tests := []struct{ file, old, new, want string }{
		{files, "            limits:\n              memory: 512Mi\n", "", "memory limit"},
		{archive, "limits:\n                  memory: 512Mi", "limits:\n                  memory: 1Gi", "memory limit"},
		{files, "replicas: 1", "replica: 1", `unknown field "spec.replica"`},
		{files, "readOnlyRootFilesystem", "readonlyRootFilesystem", "unknown field"},
		{files, "  replicas: 1\n", "  replicas: 1\n  replicas: 2\n", "already set"},
		{sidecar, "path: /admin/alive", "path: /admin/monitoring/backup", "probe"},
		{databases, "readinessProbe:", "lifecycle: {}\n          startupProbe:", "already set"},
		{files, "port: firn\n            periodSeconds: 30", "port: admin\n            periodSeconds: 30", "probe"},
		{databases, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "read-only"},
		{databases, "runAsNonRoot: true", "runAsNonRoot: false", "root"},
		{sidecar, "runAsNonRoot: true", "runAsNonRoot: false", "root"},
		{archive, "drop: [ALL]", "drop: [NET_RAW]", "capabilities"},
		{archive, "type: RuntimeDefault", "type: Unconfined", "seccomp"},
		{archive, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "escalation"},
		{files, "- name: GOMEMLIMIT", "- name: backup_s3_secret_key", "environment"},
		{files, "firn:1.0.0", "firn:latest", "image"},
		{files, "- name: secrets\n              mountPath", "- name: secret\n              mountPath", "no volume"},
		{databases, "name: firn-databases\n        - name: secrets", "name: firn-database\n        - name: secrets", "ConfigMap firn-database"},
		{"chipster/databases.yaml", "name: chipster-auth-postgresql", "name: chipster-auth", "Secret chipster-auth"},
		{sidecar, "- key: firn.yaml", "- key: chipster.yml", `"chipster.yml"`},
		{databases, "defaultMode: 0440", "defaultMode: 0644", "readable by everyone"},
		{archive, "claimName: firn-archive\n", "claimName: archive\n", "claim archive"},
		{"files/service.yaml", "component: files\n  ports", "component: file\n  ports", "selects nothing"},
		{"databases/networkpolicy.yaml", "component: databases\n  policyTypes", "component: database\n  policyTypes", "selects nothing"},
		{"chipster/service.yaml", "targetPort: firn", "targetPort: 8371", "port"},
		{archive, "Forbid", "Allow", "Forbid"},
		{archive, "  timeZone: Europe/Helsinki\n", "", "time zone"},
		{archive, "backoffLimit: 5", "backoffLimit: 5\n      activeDeadlineSeconds: 60", "deadline"},
		{databases, "type: Recreate", "type: RollingUpdate", "Recreate"},
		{"files/secret.yaml", "admin-token: REPLACE-ME", "admin-token: 8f14e45fceea167a5a36dedd4bea2543", "real"},
	}
	for _, test := range tests {
		t.Run(test.file+" "+test.want, func(t *testing.T) {
			texts := manifestTexts(t)
			changed := strings.Replace(texts[test.file], test.old, test.new, 1)
			if changed == texts[test.file] {
				t.Fatalf("%s does not contain %q", test.file, test.old)
			}
			texts[test.file] = changed
			all, err := decodeAll(texts)
			problems := problemsOf(all, chartSecrets(t))
			if err != nil {
				problems = append(problems, err.Error())
			}
			if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, test.want) }) {
				t.Errorf("%q is not found: %q", test.want, problems)
			}
		})
	}
}

// kustomization is what firn uses of kustomize's.
type kustomization struct {
	APIVersion, Kind      string
	Resources, Components []string
	Patches               []struct {
		Path, Patch string
		Target      struct{ Kind, Name string }
	}
	Images []struct{ Name, NewTag string }
}

// The files that a kustomization names are there, and every manifest is named
// by the one beside it. That kustomize agrees is seen by `kubectl kustomize` by hand.
func TestKustomizations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(project, "deploy", "*", "*", "kustomization.yaml"))
	must(t, err)
	files = append(files, filepath.Join(project, "deploy", "helm", "kustomization.yaml"))
	if len(files) != 8 {
		t.Errorf("%d kustomizations", len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		var k kustomization
		if err := yaml.UnmarshalStrict(text, &k); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		named := slices.Concat(k.Resources, k.Components)
		for _, p := range k.Patches {
			if p.Path != "" {
				named = append(named, p.Path)
			}
		}
		folder := filepath.Dir(file)
		for _, name := range named {
			if _, err := os.Stat(filepath.Join(folder, name)); err != nil && name != "chart.yaml" {
				t.Errorf("%s: %v", file, err)
			}
		}
		beside, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		must(t, err)
		for _, name := range beside {
			name = filepath.Base(name)
			if name != "kustomization.yaml" && name != "values.yaml" && !slices.Contains(named, name) {
				t.Errorf("%s does not name %s", file, name)
			}
		}
	}
}

// chartValues is what firn gives to Chipster's chart.
type chartValues struct {
	Deployments map[string]struct {
		Replicas string            `json:"replicas"`
		Configs  map[string]string `json:"configs"`
		Conf     map[string]string `json:"conf"`
	} `json:"deployments"`
}

func readValues(t testing.TB) (v chartValues) {
	t.Helper()
	f, err := os.Open(filepath.Join(project, "deploy", "helm", "values.yaml"))
	must(t, err)
	defer f.Close()
	text, err := io.ReadAll(f)
	must(t, err)
	must(t, yaml.UnmarshalStrict(text, &v))
	return v
}

// chartSecrets are the Secrets of Chipster's chart with their keys: those that
// are always there, and what firn's values add.
func chartSecrets(t testing.TB) map[string][]string {
	t.Helper()
	secrets := map[string][]string{}
	for _, role := range []string{"auth", "session-db", "job-history"} {
		secrets["chipster-"+role+"-postgresql"] = []string{"postgres-password"}
	}
	values := readValues(t)
	for deployment, name := range map[string]string{"fileStorage": "file-storage", "backup": "backup"} {
		for key := range values.Deployments[deployment].Conf {
			secrets[name] = append(secrets[name], key)
		}
	}
	return secrets
}
