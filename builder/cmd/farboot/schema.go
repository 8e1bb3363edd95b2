package main

import (
	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/recipe"
)

// schemaCommand prints the JSON Schema of recipes.
func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of recipes, for editors",
		Long: `schema prints the JSON Schema of recipes. Editors that speak YAML complete keys
and show what they mean when a recipe's first line names it:

  # yaml-language-server: $schema=recipe.schema.json`,
		Example: "  farboot schema > recipes/recipe.schema.json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			data, err := recipe.Schema()
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(data)
			return err
		},
	}
}
