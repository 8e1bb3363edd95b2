package apt

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/builder/recipe"
)

// Config is the set of repositories that serve one suite. Make one with
// [Configure].
type Config struct {
	Suite      string   // as the recipe has it: "bookworm"
	Components []string // read from every repository; never empty
	// Repositories are read all; the newest version among them counts.
	Repositories []Repository
	// AsOf is the moment at which dates are judged, for a frozen mirror. Zero
	// means now.
	AsOf time.Time
}

// Repository is one dists/<Suite> folder and the mirrors that serve it.
type Repository struct {
	Repo    string   // RepoArchive or RepoSecurity
	Suite   string   // "bookworm", "bookworm-updates" or "bookworm-security"
	Mirrors []Mirror // tried in order; never empty
}

// Mirror is a base URL and the keys that may sign what it serves.
type Mirror struct {
	URL  string // without a slash at the end
	From string // where it is configured, for messages
	keys keyring
}

// Configure returns the repositories that serve a validated recipe's suite:
// the recipe's own mirror where it names one, with a keyring that lies below
// the folder project, and else the sources of the machine whose root folder is
// machine ("/" outside of tests).
//
// A recipe that names a mirror and no security mirror gets the suite alone,
// without -updates and -security: so private repositories are made, and what
// is not named cannot be missed. In all other cases the three must exist.
//
// A machine may run another release than the recipe's, and its sources serve
// all the same: a URI counts as a mirror of the archive where it is configured
// for "<release>-updates", and as one of the security archive where it is for
// "<release>-security", the release being the recipe's suite, the machine's
// own, stable, oldstable or testing. The repositories of third parties, which
// often have a suite "bookworm" as well, have no such suite.
func Configure(a recipe.Apt, project, machine string) (*Config, error) {
	c := &Config{Suite: a.Suite, Components: a.Components}
	var err error
	if a.Mirror != "" {
		err = c.fromRecipe(a, project)
	} else {
		err = c.fromMachine(machine)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// fromRecipe takes mirrors and keyring from the recipe.
func (c *Config) fromRecipe(a recipe.Apt, project string) error {
	keys, err := projectKeyring(project, a.Keyring)
	if err != nil {
		return err
	}
	if a.Snapshot != "" {
		if c.AsOf, err = time.Parse(time.RFC3339, a.Snapshot); err != nil {
			return fmt.Errorf("apt: snapshot: %w", err)
		}
	}
	mirror := func(url string) []Mirror {
		return []Mirror{{URL: strings.TrimRight(url, "/"), From: "the recipe", keys: keys}}
	}
	if a.Security == "" {
		c.Repositories = []Repository{{RepoArchive, c.Suite, mirror(a.Mirror)}}
		return nil
	}
	c.setRepositories(mirror(a.Mirror), mirror(a.Security))
	return nil
}

// projectKeyring reads the keyring that a recipe names.
func projectKeyring(project, name string) (keyring, error) {
	f, err := os.OpenInRoot(project, filepath.FromSlash(name))
	if err != nil {
		return keyring{}, fmt.Errorf("apt: keyring: %w", err)
	}
	defer f.Close()
	data, err := readAllCapped(f, name, maxKeyring)
	if err != nil {
		return keyring{}, fmt.Errorf("apt: keyring: %w", err)
	}
	k := keyring{files: []keyFile{{name, data}}}
	_, err = k.entities(time.Time{})
	return k, err
}

// fromMachine takes mirrors and keyrings from the machine's own configuration.
func (c *Config) fromMachine(root string) error {
	all, err := machineSources(root)
	if err != nil {
		return err
	}
	releases := []string{c.Suite, codename(root), "stable", "oldstable", "testing"}
	archive, security := choose(all, releases)
	for _, part := range []struct {
		suffix  string
		sources []source
	}{{"-updates", archive}, {"-security", security}} {
		if len(part.sources) == 0 {
			return fmt.Errorf("%w for %q: none of the %d sources below %s is for a suite %s; "+
				"set mirror, security and keyring under apt: in the recipe",
				ErrNoSource, c.Suite+part.suffix, len(all), filepath.Join(root, "etc/apt"), anyOf(releases, part.suffix))
		}
	}
	archiveMirrors, err := mirrors(root, archive)
	if err != nil {
		return err
	}
	securityMirrors, err := mirrors(root, security)
	if err != nil {
		return err
	}
	c.setRepositories(archiveMirrors, securityMirrors)
	return nil
}

func (c *Config) setRepositories(archive, security []Mirror) {
	c.Repositories = []Repository{
		{RepoArchive, c.Suite, archive},
		{RepoArchive, c.Suite + "-updates", archive},
		{RepoSecurity, c.Suite + "-security", security},
	}
}

// choose picks the sources that are mirrors of the archive and of the security
// archive, those configured for the recipe's own suite first.
func choose(all []source, releases []string) (archive, security []source) {
	var own, others []source
	hasUpdates := map[string]bool{}
	for _, s := range all {
		i, suffix, ok := classify(s.suite, releases)
		switch {
		case !ok || !isHTTP(s.uri) && !isMirrorList(s.uri):
			continue // as cdrom:, file:, or a URI with a password in it
		case i == 0:
			own = append(own, s)
		default:
			others = append(others, s)
		}
		hasUpdates[s.uri] = hasUpdates[s.uri] || suffix == "-updates"
	}
	for _, s := range append(own, others...) {
		if _, suffix, _ := classify(s.suite, releases); suffix == "-security" {
			security = append(security, s)
		} else if hasUpdates[s.uri] {
			archive = append(archive, s)
		}
	}
	return archive, security
}

// classify splits a suite into one of releases, by number, and the suffix "",
// "-updates" or "-security".
func classify(suite string, releases []string) (i int, suffix string, ok bool) {
	for i, r := range releases {
		suffix, ok := strings.CutPrefix(suite, r)
		if ok && r != "" && slices.Contains([]string{"", "-updates", "-security"}, suffix) {
			return i, suffix, true
		}
	}
	return 0, "", false
}

// isHTTP tells whether a URI is one that the fetcher takes.
func isHTTP(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") &&
		u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// mirrors returns the sources' URIs, each once, with their keys.
func mirrors(root string, sources []source) ([]Mirror, error) {
	var list []Mirror
	for _, s := range sources {
		uris, err := s.uris(root)
		if err != nil {
			return nil, err
		}
		keys, err := sourceKeyring(root, s)
		if err != nil {
			return nil, err
		}
		for _, uri := range uris {
			if !slices.ContainsFunc(list, func(m Mirror) bool { return m.URL == uri }) {
				list = append(list, Mirror{URL: uri, From: s.from, keys: keys})
			}
		}
	}
	return list, nil
}

// anyOf writes "a-updates, b-updates", for messages.
func anyOf(releases []string, suffix string) string {
	var names []string
	for _, r := range releases {
		if name := r + suffix; r != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// URLs returns where a file of the repository called repo may be had, mirror
// after mirror. The name is relative to a mirror's base, as Package.Filename
// and a lock's paths are. It works without an [Index], so that what is locked
// can be fetched without asking what is new.
func (c *Config) URLs(repo, name string) ([]string, error) {
	if !isCleanPath(name) {
		return nil, fmt.Errorf("%w: path %q leads out of the repository", ErrMalformed, name)
	}
	for _, r := range c.Repositories {
		if r.Repo == repo {
			return fileURLs(r.Mirrors, name), nil
		}
	}
	return nil, fmt.Errorf("%w for repository %q of %s", ErrNoSource, repo, c.Suite)
}

func fileURLs(mirrors []Mirror, name string) []string {
	urls := make([]string, len(mirrors))
	for i, m := range mirrors {
		urls[i] = m.file(name)
	}
	return urls
}

// file returns the URL of a file. The name is a path as it is on the server's
// disk: what has a meaning in URLs is escaped.
func (m Mirror) file(name string) string {
	return m.URL + "/" + (&url.URL{Path: name}).EscapedPath()
}

// isCleanPath tells whether name is a relative path of plain characters that
// stays below where it starts.
func isCleanPath(name string) bool {
	return name != "" && name != "." && name == path.Clean(name) && filepath.IsLocal(name) &&
		strings.IndexFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' }) < 0
}
