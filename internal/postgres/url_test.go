package postgres

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

var goodURLs = []struct{ url, want, password string }{
	{"postgres://host/name", "host='host' dbname='name'", ""},
	{"postgresql://user:pass@host:1234/name", "host='host' port='1234' dbname='name' user='user'", "pass"},
	{"postgres://us%40er:p%40s%2Fs%3A%25+@host/na%2Fme", "host='host' dbname='na/me' user='us@er'", "p@s/s:%+"},
	{"postgres://user:pa?s:s@host/name", "host='host' dbname='name' user='user'", "pa?s:s"},
	{"postgres://user:@host", "host='host' user='user'", ""},
	{"postgres://", "", ""},
	{"postgres:///name", "dbname='name'", ""},
	{"postgres://:5433/name", "port='5433' dbname='name'", ""},
	{"postgres://[2001:db8::1]:5433/name", "host='2001:db8::1' port='5433' dbname='name'", ""},
	{"postgres://[::1]/", "host='::1'", ""},
	{"postgres://%2Fvar%2Frun%2Fpostgresql/name", "host='/var/run/postgresql' dbname='name'", ""},
	{"postgres:///name?host=/tmp/s&port=5499", "host='/tmp/s' port='5499' dbname='name'", ""},
	{"postgres://a,b:5433,[::1]/name", "host='a,b,::1' port='5432,5433,5432' dbname='name'", ""},
	{"postgres://a,b/name?port=5433", "host='a,b' port='5433' dbname='name'", ""},
	{"postgres://h?user=u&password=p%26w&dbname=n", "host='h' dbname='n' user='u'", "p&w"},
	{"postgres://h/it's%5Chere", `host='h' dbname='it\'s\\here'`, ""},
	{"postgres://h/n?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=5&application_name=x%20y",
		"host='h' dbname='n' sslmode='verify-full' sslrootcert='/ca.pem' connect_timeout='5' application_name='x y'", ""},
	{"postgres://h/n?ssl=true", "host='h' dbname='n' sslmode='require'", ""},
	{"postgres://h/n?options=-c%20geqo%3Doff&target_session_attrs=primary&channel_binding=require&passfile=/p",
		"host='h' dbname='n' options='-c geqo=off' target_session_attrs='primary' channel_binding='require' passfile='/p'", ""},

	{"jdbc:postgresql://host:1234/name", "host='host' port='1234' dbname='name'", ""},
	{"jdbc:postgresql://host/name", "host='host' port='5432' dbname='name'", ""},
	{"jdbc:postgresql:name", "host='localhost' port='5432' dbname='name'", ""},
	{"jdbc:postgresql:/name", "host='localhost' port='5432' dbname='name'", ""},
	{"jdbc:postgresql:///name", "host='localhost' port='5432' dbname='name'", ""},
	{"jdbc:postgresql:", "host='localhost' port='5432'", ""},
	{"jdbc:postgresql://a:1,[::1]:2,c/na%20me", "host='a,::1,c' port='1,2,5432' dbname='na me'", ""},
	{"jdbc:postgresql://h/n?user=u&password=a%2Bb+c@d?e=f", "host='h' port='5432' dbname='n' user='u'", "a+b c@d?e=f"},
	{"jdbc:postgresql://h/n?ssl=true", "host='h' port='5432' dbname='n' sslmode='verify-full'", ""},
	{"jdbc:postgresql://h/n?ssl", "host='h' port='5432' dbname='n' sslmode='verify-full'", ""},
	{"jdbc:postgresql://h/n?ssl=false", "host='h' port='5432' dbname='n'", ""},
	{"jdbc:postgresql://h/n?sslmode=Require&ssl=true&sslrootcert=ca", "host='h' port='5432' dbname='n' sslmode='require' sslrootcert='ca'", ""},
	{"jdbc:postgresql://h/n?ssl=true&sslfactory=org.postgresql.ssl.NonValidatingFactory", "host='h' port='5432' dbname='n' sslmode='require'", ""},
	{"jdbc:postgresql://h/n?ssl=true&sslfactory=org.postgresql.ssl.LibPQFactory", "host='h' port='5432' dbname='n' sslmode='verify-full'", ""},
	{"jdbc:postgresql://h/n?socketTimeout=5&currentSchema=x&reWriteBatchedInserts=true&&ApplicationName=app&connectTimeout=0&targetServerType=master&options=-c%20a=b&channelBinding=require",
		"host='h' port='5432' dbname='n' application_name='app' connect_timeout='0' target_session_attrs='primary' options='-c a=b' channel_binding='require'", ""},
}

// conninfo without what is always there.
func sortedConninfo(t *testing.T, text string) map[string]string {
	t.Helper()
	config := map[string]string{}
	for text != "" {
		key, rest, ok := strings.Cut(text, "='")
		if !ok {
			t.Fatalf("conninfo ends with %q", text)
		}
		end := 0
		for ; rest[end] != '\''; end++ {
			if rest[end] == '\\' {
				end++
			}
		}
		config[key] = rest[:end]
		text = strings.TrimPrefix(rest[end+1:], " ")
	}
	return config
}

func TestParseURL(t *testing.T) {
	for _, c := range goodURLs {
		d, err := ParseURL(c.url)
		if err != nil {
			t.Errorf("ParseURL(%q): %v", c.url, err)
			continue
		}
		want := sortedConninfo(t, c.want)
		for key, value := range map[string]string{"port": "5432", "application_name": "firn", "connect_timeout": "30"} {
			if want[key] == "" {
				want[key] = value
			}
		}
		got := sortedConninfo(t, d.conninfo())
		if len(got) != len(want) {
			t.Errorf("ParseURL(%q) = %v; want %v", c.url, got, want)
		}
		for key := range want {
			if got[key] != want[key] {
				t.Errorf("ParseURL(%q): %s is %s; want %s", c.url, key, got[key], want[key])
			}
		}
		if d.password != c.password || d.HasPassword() != (c.password != "") {
			t.Errorf("ParseURL(%q): password %q; want %q", c.url, d.password, c.password)
		}
	}
}

var badURLs = []struct{ url, want string }{
	{"", "is at its beginning"},
	{"mysql://host/name", "is at its beginning"},
	{"host=a dbname=b", "is at its beginning"},
	{"postgres:host", "is at its beginning"},
	{"postgres://u:p@ss@host/name", "write %40"},
	{"postgres://u:p/ss@host/name", "write %40"},
	{"postgres://u:12/s@host/name", "write %40"},
	{"postgres://u:12/s?geheim=x@host/name", "write %40"},
	{"postgres://u:p%ss@host/name", "password: a % is not followed"},
	{"postgres://u:p%00s@host/name", "password has a zero byte"},
	{"postgres://host:0/name", "a port is not a number"},
	{"postgres://host:65536/name", "a port is not a number"},
	{"postgres://host:secret/name", "a port is not a number"},
	{"postgres://::1/name", "write an IPv6 address"},
	{"postgres://[::1/name", "write an IPv6 address"},
	{"postgres://[::1]x:5432/name", "write an IPv6 address"},
	{"postgres://a,,b/name", "one of several hosts is empty"},
	{"postgres://a,b,c/name?port=1,2", "not as many ports as hosts"},
	{"postgres://h/n?sslpassword=x", "sslpassword would be seen"},
	{"postgres://h/n?gssencmode=disable", "parameter gssencmode is not supported"},
	{"postgres://h/n?hostaddr=1.2.3.4", "parameter hostaddr is not supported"},
	{"postgres://h/n?service=x", "parameter service is not supported"},
	{"postgres://h/n?statement_timeout=1", "parameter statement_timeout is not supported"},
	{"postgres://h/n?ssl=false", "parameter ssl is not supported"},
	{"postgres://h/n?p4ssw0rd=1", "a parameter after the ? has no known name"},
	{"postgres://h/n?sslmode", "sslmode is not supported"},
	{"postgres://h/n?sslmode=on", "parameter sslmode has a value"},
	{"postgres://h/n?connect_timeout=5s", "parameter connect_timeout has a value"},
	{"postgres://h/n?connect_timeout=-1", "parameter connect_timeout has a value"},
	{"postgres://h/n?target_session_attrs=x", "parameter target_session_attrs has a value"},
	{"postgres://h/n?channel_binding=x", "parameter channel_binding has a value"},
	{"jdbc:postgresql://u:p@host/name", "no user and password before the host"},
	{"jdbc:postgresql://h:x/n", "a port is not a number"},
	{"jdbc:postgresql://h/n?sslmode=x", "parameter sslmode has a value"},
	{"jdbc:postgresql://h/n?sslpassword=x", "sslpassword would be seen"},
	{"jdbc:postgresql://h/n?sslhostnameverifier=x", "parameter sslhostnameverifier is not supported"},
	{"jdbc:postgresql://h/n?gssEncMode=require", "parameter gssEncMode is not supported"},
	{"jdbc:postgresql://h/n?requireAuth=scram-sha-256", "parameter requireAuth is not supported"},
	{"jdbc:postgresql://?service=x", "parameter service is not supported"},
	{"jdbc:postgresql://h/n?ssl=true&sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory", "set sslmode and sslrootcert"},
	{"jdbc:postgresql://h/n?targetServerType=x", "targetServerType has a value"},
	{"jdbc:postgresql://h/n?connectTimeout=x", "connect_timeout has a value"},
	{"jdbc:postgresql://h/n?password=%zz", "password: a % is not followed"},
}

func TestParseURLRefuses(t *testing.T) {
	for _, c := range badURLs {
		_, err := ParseURL(c.url)
		if !errors.Is(err, ErrURL) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseURL(%q): error %v; want one with %q", c.url, err, c.want)
		}
	}
}

func TestAddressForPeople(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://user:pass@host/name":                   "host:5432/name",
		"postgres://a,[::1]:5433/name":                     "a:5432,[::1]:5433/name",
		"postgres://user@host":                             "host:5432/user",
		"postgres:///name":                                 "localhost:5432/name",
		"postgres:///name?host=/tmp/s":                     "/tmp/s:5432/name",
		"jdbc:postgresql://host:1/name?user=u&password=pw": "host:1/name",
	} {
		if got := parse(t, url).String(); got != want {
			t.Errorf("%s is %q; want %q", url, got, want)
		}
	}
}

// What the environment has, libpq and pgx take where the address says nothing.
func TestAddressFromEnvironment(t *testing.T) {
	t.Setenv("PGHOST", "elsewhere")
	t.Setenv("PGPORT", "5499")
	t.Setenv("PGDATABASE", "other")
	if got := parse(t, "postgres://").String(); got != "elsewhere:5499/other" {
		t.Errorf("address %q", got)
	}
	if got := parse(t, "jdbc:postgresql:name").String(); got != "localhost:5432/name" {
		t.Errorf("address %q of a Java program", got)
	}
}

func TestPasswordGoesByEnvironmentOnly(t *testing.T) {
	d := parse(t, "postgres://user:s3cr3t@host/name")
	if info := d.conninfo(); strings.Contains(info, "s3cr3t") || strings.Contains(info, "password") {
		t.Errorf("conninfo %s", info)
	}
	t.Setenv("PGPASSWORD", "another")
	env := d.environment()
	if last := env[len(env)-1]; last != "PGPASSWORD=s3cr3t" { // the last of several wins
		t.Errorf("environment ends with %s", last)
	}
}

const marker = "S3cr3t9Marker"

// FuzzParseURL: nothing panics; no error has what could be a password, wherever
// in the text it stands; and pgx reads what we write.
func FuzzParseURL(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		d, err := ParseURL(before + marker + after)
		if err != nil {
			if strings.Contains(err.Error(), marker) {
				t.Fatalf("the error tells: %v", err)
			}
			return
		}
		if d.HasPassword() && d.password == marker && strings.Contains(d.conninfo()+d.String(), marker) {
			t.Fatalf("conninfo tells the password")
		}
		for _, file := range []string{"sslrootcert", "sslcert", "sslkey", "passfile"} {
			delete(d.parameters, file)
		}
		config, err := pgconn.ParseConfig(d.conninfo())
		if err != nil {
			t.Fatalf("pgx: %v", err)
		}
		if config.Database != d.parameters["dbname"] {
			t.Fatalf("pgx reads the name %q; want %q", config.Database, d.parameters["dbname"])
		}
		if user := d.parameters["user"]; user != "" && config.User != user {
			t.Fatalf("pgx reads the user %q; want %q", config.User, user)
		}
	})
}

// What libpq makes of a conninfo, a real pg_dump shows: an address with signs
// that need care reaches its database.
func TestConninfoOfOddNames(t *testing.T) {
	name := `o'dd "name\ of @ 1=1`
	quoted := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	server.Exec(t, "postgres", "CREATE DATABASE "+quoted)
	t.Cleanup(func() { server.Exec(t, "postgres", "DROP DATABASE "+quoted) })
	escaped := strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	d := address(t, escaped)
	server.Exec(t, escaped, "CREATE TABLE here()")
	var dump strings.Builder
	if err := d.Dump(t.Context(), &dump, DumpOptions{Server: version}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dump.String(), "CREATE TABLE public.here") {
		t.Error("the dump is of another database")
	}
}

// fuzzSeeds has the secret at every place of every address where a part begins.
func fuzzSeeds() (seeds [][2]string) {
	var all []string
	for _, c := range goodURLs {
		all = append(all, c.url)
	}
	for _, c := range badURLs {
		all = append(all, c.url)
	}
	for _, text := range all {
		for i := range len(text) {
			if strings.ContainsRune(":/@?=&,", rune(text[i])) {
				seeds = append(seeds, [2]string{text[:i+1], text[i+1:]})
			}
		}
	}
	return seeds
}

func TestFuzzSeeds(t *testing.T) {
	accepted := 0
	for _, seed := range fuzzSeeds() {
		if _, err := ParseURL(seed[0] + marker + seed[1]); err == nil {
			accepted++
		}
	}
	if refused := len(fuzzSeeds()) - accepted; accepted < 50 || refused < 50 {
		t.Errorf("%d seeds are accepted and %d refused", accepted, refused)
	}
}
