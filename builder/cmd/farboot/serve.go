package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/reports"
	"github.com/farboot/farboot/builder/site"
)

// serveCommand serves a published site.
func serveCommand() *cobra.Command {
	var listen, keep string
	c := &cobra.Command{
		Use:   "serve FOLDER",
		Short: "Serve a published site over HTTP",
		Long: `serve is a plain web server for a published site: static files with Range and
ETag, no listings. Any other web server or CDN does as well, and none of them
needs to be trusted.

With --reports it also keeps what machines report of their boots, sent by POST
to /reports. Anybody who reaches the server can send reports, and nobody signs
them: they are claims. "farboot machines" shows them; they are never served.`,
		Example: `  farboot serve out/site
  farboot serve out/site --listen :80 --reports out/reports`,
		Args: exactArgs(1, "one folder"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkSite(args[0]); err != nil {
				return err
			}
			h := site.Handler(args[0], c.ErrOrStderr())
			if keep != "" {
				store, err := reportStore(keep, args[0])
				if err != nil {
					return fmt.Errorf("serve: %w", err)
				}
				h = store.Handler(h, c.ErrOrStderr())
			}
			ln, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			fmt.Fprintf(c.ErrOrStderr(), "serving %s on http://%s/\n", args[0], ln.Addr())
			if err := site.ServeHandler(c.Context(), ln, h); err != nil {
				return fmt.Errorf("serve %s: %w", args[0], err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address and port")
	c.Flags().StringVar(&keep, "reports", "", "keep what machines report in this folder")
	return c
}

// reportStore opens a folder of reports, which must not lie in the site: it would
// be served.
func reportStore(dir, site string) (*reports.Store, error) {
	inside, err := within(dir, site)
	if err != nil {
		return nil, err
	}
	if inside {
		return nil, withHint(fmt.Errorf("reports: %s lies in the site and would be served", dir), "name a folder outside of %s", site)
	}
	return reports.New(dir, reports.DefaultLimits())
}

// within tells whether dir is root or lies below it, links followed. It need not
// exist.
func within(dir, root string) (bool, error) {
	dir, err := physical(dir)
	if err != nil {
		return false, err
	}
	if root, err = physical(root); err != nil {
		return false, err
	}
	rel, err := filepath.Rel(root, dir)
	return err == nil && filepath.IsLocal(rel), nil
}

// physical returns the absolute path behind all links, as far as it exists.
func physical(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	parent, err := physical(filepath.Dir(name))
	return filepath.Join(parent, filepath.Base(name)), err
}

// checkSite refuses a folder that is not there: a server that answers "not
// found" to everything would look like one at work.
func checkSite(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s: not a folder", dir)
	}
	if err != nil {
		return withHint(fmt.Errorf("serve: %w", err), `"farboot publish RECIPE" makes a site`)
	}
	return nil
}
