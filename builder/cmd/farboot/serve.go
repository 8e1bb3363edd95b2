package main

import (
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/site"
)

// serveCommand serves a published site.
func serveCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "serve FOLDER",
		Short: "Serve a published site over HTTP",
		Long: `serve is a plain web server for a published site: static files with Range and
ETag, no listings. Any other web server or CDN does as well, and none of them
needs to be trusted.`,
		Example: `  farboot serve out/site
  farboot serve out/site --listen :80`,
		Args: exactArgs(1, "one folder"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkSite(args[0]); err != nil {
				return err
			}
			ln, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			fmt.Fprintf(c.ErrOrStderr(), "serving %s on http://%s/\n", args[0], ln.Addr())
			return site.Serve(c.Context(), ln, args[0], c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address and port")
	return c
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
