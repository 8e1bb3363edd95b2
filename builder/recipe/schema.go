package recipe

import (
	"embed"
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// typesSource is the source of the recipe types: their comments become the
// descriptions that an editor shows, so that nothing is said twice.
//
//go:embed images.go iso.go power.go types.go works.go xen.go menu.go
var typesSource embed.FS

// Schema returns the JSON Schema of recipes, for editors: it completes keys and
// shows what they mean. [Load] checks more than a schema can say.
func Schema() ([]byte, error) {
	comments, err := fieldComments()
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	reflector := jsonschema.Reflector{
		Anonymous:      true,
		CommentMap:     comments,
		ExpandedStruct: true,
		Mapper:         textual,
	}
	medium := reflector.ReflectFromType(reflect.TypeFor[Medium]())
	site := reflector.ReflectFromType(reflect.TypeFor[Site]())
	constKind(medium, KindMedium)
	constKind(site, KindSite)
	definitions := medium.Definitions
	for name, def := range site.Definitions {
		definitions[name] = def
	}
	medium.Definitions, site.Definitions = nil, nil
	medium.Version, site.Version = "", ""
	root := &jsonschema.Schema{
		Version:     jsonschema.Version,
		Title:       "farboot recipe",
		OneOf:       []*jsonschema.Schema{medium, site},
		Definitions: definitions,
	}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return append(data, '\n'), nil
}

// textual says that what reads itself from text, an address, is text.
func textual(t reflect.Type) *jsonschema.Schema {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return &jsonschema.Schema{Type: "string"}
	}
	return nil
}

// constKind ties a schema to one value of "kind".
func constKind(s *jsonschema.Schema, kind string) {
	if p, ok := s.Properties.Get("kind"); ok {
		p.Const = kind
	}
}

// fieldComments maps "package.Type" and "package.Type.Field" to their comments,
// as jsonschema wants them.
func fieldComments() (map[string]string, error) {
	pkg := reflect.TypeFor[Recipe]().PkgPath()
	comments := map[string]string{}
	for _, name := range []string{"images.go", "iso.go", "power.go", "types.go", "works.go", "xen.go", "menu.go"} {
		source, err := typesSource.ReadFile(name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		commentsOf(file, pkg, comments)
	}
	return comments, nil
}

// commentsOf adds the comments of a file.
func commentsOf(file *ast.File, pkg string, comments map[string]string) {
	ast.Inspect(file, func(n ast.Node) bool {
		decl, ok := n.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			return true
		}
		spec := decl.Specs[0].(*ast.TypeSpec)
		at := pkg + "." + spec.Name.Name
		comments[at] = oneLine(decl.Doc)
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					comments[at+"."+name.Name] = oneLine(f.Doc)
				}
			}
		}
		return false
	})
}

// oneLine joins the lines of a comment.
func oneLine(doc *ast.CommentGroup) string {
	return strings.Join(strings.Fields(doc.Text()), " ")
}
