package inspect

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/tree"
)

// recorded returns the records of a medium with an initrd that ends with them.
func recorded() map[string]string {
	return map[string]string{
		SettingsPath: "settings", StatementPath: "statement", SignaturesPath: "signatures",
		initrdPath: "modules 070701 settings statement signatures",
	}
}

// folderOf writes files as a netboot folder.
func folderOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// imageOf writes files as an image.
func imageOf(t *testing.T, files map[string]string) string {
	t.Helper()
	m, _ := sample(t)
	for name, text := range files {
		if err := m.Tree.Add(tree.Bytes(name, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	return write(t, m)
}

func TestRecords(t *testing.T) {
	for name, make := range map[string]func(*testing.T, map[string]string) string{"image": imageOf, "folder": folderOf} {
		t.Run(name, func(t *testing.T) {
			settings, statement, sigs, err := Records(make(t, recorded()))
			if err != nil || string(settings) != "settings" || string(statement) != "statement" || string(sigs) != "signatures" {
				t.Errorf("Records = %q, %q, %q, %v", settings, statement, sigs, err)
			}
			for phrase, spoil := range map[string]func(map[string]string){
				"settings.json is not what lies in boot/initrd.img": func(f map[string]string) { f[SettingsPath] = "settings!" },
				"file does not exist":                               func(f map[string]string) { delete(f, SignaturesPath) },
				"boot/initrd.img":                                   func(f map[string]string) { delete(f, initrdPath) },
				"statement.json: want 1 to":                         func(f map[string]string) { f[StatementPath] = "" },
				"sig: want 1 to":                                    func(f map[string]string) { f[SignaturesPath] = strings.Repeat("x", maxRecord+1) },
			} {
				files := recorded()
				spoil(files)
				path := make(t, files)
				_, _, _, err := Records(path)
				if name == "folder" {
					phrase = strings.ReplaceAll(phrase, "file does not exist", "no such file")
				}
				if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), phrase) || !strings.HasPrefix(err.Error(), path) {
					t.Errorf("Records = %v; want %q", err, phrase)
				}
			}
		})
	}
	if _, _, _, err := Records(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Records of nothing = %v", err)
	}
}
