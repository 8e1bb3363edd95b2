package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Env is a set of environment variables. In JSON it is a list of "NAME=value",
// sorted: keys in farboot's JSON are lower case.
type Env map[string]string

// MarshalJSON implements json.Marshaler.
func (e Env) MarshalJSON() ([]byte, error) { return json.Marshal(e.List()) }

// UnmarshalJSON implements json.Unmarshaler.
func (e *Env) UnmarshalJSON(data []byte) error {
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	*e = Env{}
	for _, pair := range list {
		name, value, ok := strings.Cut(pair, "=")
		if _, twice := (*e)[name]; !ok || twice {
			return fmt.Errorf("variable %+q is no NAME=value, or stands twice", clip(pair))
		}
		(*e)[name] = value
	}
	return nil
}

// List returns the variables as "NAME=value", sorted by name.
func (e Env) List() []string {
	list := []string{}
	for _, name := range slices.Sorted(maps.Keys(e)) {
		list = append(list, name+"="+e[name])
	}
	return list
}
