package vaults

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"adsync/internal/config"
)

var home = os.Getenv("HOME") // before isolate

// isolate makes sure that nothing of the machine's own is found, and that nobody asks what kind of machine it is.
func isolate() {
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		for _, prefix := range []string{"VAULT_", "AWS_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_"} {
			if strings.HasPrefix(name, prefix) {
				_ = os.Unsetenv(name)
			}
		}
	}
	_ = os.Unsetenv("HOME")
	_ = os.Unsetenv("APPDATA")
	_ = os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	_ = os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	_ = os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_ = os.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
}

// A reference to a store that this build leaves out is refused by Load, in words of its own. It runs in builds with and without tags.
func TestLeftOut(t *testing.T) {
	for scheme, ref := range map[string]string{"vault": "vault:secret/data/acme#password", "aws": "aws:acme", "gcp": "gcp:acme"} {
		dir := t.TempDir()
		src := "clients: [{id: a, connections: [{platform: adplatform, url: https://ads.example.com, credentials: {email: a@example.com, password: \"" + ref + "\"}}]}]\n"
		if err := os.WriteFile(filepath.Join(dir, config.DefaultFile), []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Options{Dir: dir, Stores: Open})
		built := slices.Contains(Built(), scheme)
		switch {
		case built && err != nil:
			t.Errorf("%s: %v", ref, err)
		case built:
			c.Close()
		case err == nil || !strings.Contains(err.Error(), "left out of this build by the build tag no"+scheme) || !strings.Contains(err.Error(), "use a build without the tag"):
			t.Errorf("%s: got %v", ref, err)
		}
	}
}

// Each build tag leaves its client out, and only that.
func TestTags(t *testing.T) {
	clients := map[string]string{"novault": "github.com/hashicorp/vault/api", "noaws": "github.com/aws/aws-sdk-go-v2/aws", "nogcp": "cloud.google.com/go/secretmanager/apiv1"}
	for tag := range clients {
		cmd := exec.Command("go", "list", "-deps", "-tags", tag, ".")
		cmd.Env = append(os.Environ(), "HOME="+home)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		deps := strings.Fields(string(out))
		for other, client := range clients {
			if slices.Contains(deps, client) {
				if other == tag {
					t.Errorf("with %s the binary holds %s", tag, client)
				}
			} else if other != tag {
				t.Errorf("with %s the binary has lost %s", tag, client)
			}
		}
	}
}
