package medium

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/object"
)

const (
	// rootsPackage holds the certificates of public CAs, one PEM file each,
	// below rootsDir. What its maintainer script would join, we join.
	rootsPackage = "ca-certificates"
	rootsDir     = "usr/share/ca-certificates/mozilla"
	// rootsPath is where Go's crypto/x509 looks first on Linux.
	rootsPath = "etc/ssl/certs/ca-certificates.crt"
)

// defaultRoots tells whether the medium gets Debian's CA certificates. They are
// for the transport alone: whom to believe is the trust statement's matter.
func defaultRoots(r *recipe.Medium) bool {
	https := func(s string) bool { return strings.HasPrefix(s, "https:") }
	return len(r.Roots) == 0 && (slices.ContainsFunc(r.Site, https) || slices.ContainsFunc(r.Report, https))
}

// rootsLayer holds CA certificates; it is empty where nobody needs them.
func (c *composer) rootsLayer() (tree.File, object.Ref, error) {
	r := c.Recipe.Medium
	if len(r.Roots) == 0 && !defaultRoots(r) {
		return tree.Bytes(initrdPath, nil), object.OfBytes(nil), nil
	}
	var inputs []any
	for _, in := range r.Roots {
		_, ref, err := c.Blobs.Path(in)
		if err != nil {
			return tree.File{}, object.Ref{}, err
		}
		inputs = append(inputs, ref)
	}
	if pkg, ok := c.Lock.Lookup("deb:" + rootsPackage); ok && defaultRoots(r) {
		inputs = append(inputs, pkg.Ref)
	}
	return c.layer(keyOf("roots", inputs, c.compression(), c.m.Epoch), func() ([]initramfs.File, error) {
		bundle, err := c.roots()
		if err != nil {
			return nil, err
		}
		return initramfs.FromTree(tree.Bytes(rootsPath, bundle)), nil
	})
}

// roots joins the CA certificates.
func (c *composer) roots() ([]byte, error) {
	var bundle bytes.Buffer
	for _, in := range c.Recipe.Medium.Roots {
		name, _, err := c.Blobs.Path(in)
		if err != nil {
			return nil, err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("roots: %w", err)
		}
		if err := leak.Bytes(in.Name(), data); err != nil {
			return nil, err
		}
		if err := addCertificates(&bundle, data); err != nil {
			return nil, &recipe.Error{Path: c.Recipe.Path, Line: in.Line, Field: "roots", Msg: err.Error()}
		}
	}
	if !defaultRoots(c.Recipe.Medium) {
		return bundle.Bytes(), nil
	}
	deb, err := c.Blobs.Deb(rootsPackage)
	if err != nil {
		return nil, err
	}
	err = deb.Walk(func(h *tar.Header, r io.Reader) error {
		if path.Dir(h.Name) != rootsDir || h.Typeflag != tar.TypeReg {
			return nil
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		return addCertificates(&bundle, data)
	})
	return bundle.Bytes(), err
}

// addCertificates appends the certificates in data, and nothing else that may
// stand there, to bundle.
func addCertificates(bundle *bytes.Buffer, data []byte) error {
	found := false
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("a PEM block %q among CA certificates", block.Type)
		}
		found = true
		if err := pem.Encode(bundle, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("no PEM certificate")
	}
	return nil
}
