package main

import (
	"fmt"
	"net"

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
