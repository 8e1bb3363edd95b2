package manifest

import (
	"encoding/hex"
	"strings"
)

// DocumentDir is the folder of a site with a document for each machine. Its
// names hold nothing but lower-case letters, digits and '-', and have at most
// 135 characters before the suffix.
const DocumentDir = "machines"

// DocumentPath is where a site keeps the document with the given id, relative
// to its root; ".sig" is added for the signatures.
func DocumentPath(id string) string { return DocumentDir + "/" + id + ".json" }

// DocumentID names the document of the machine that match recognises: by the
// first of uuid, serial and mac that is set. A malformed match has none.
func DocumentID(match Match) string {
	if CheckMatch(match) != nil {
		return ""
	}
	switch {
	case match.UUID != "":
		return "uuid-" + match.UUID
	case match.Serial != "":
		return "serial-" + hex.EncodeToString([]byte(match.Serial))
	}
	return "mac-" + strings.ReplaceAll(match.MAC, ":", "-")
}

// DocumentIDs returns the names under which a machine may find its document, in
// the order of asking: uuid, serial, each MAC. What no Match could hold, such
// as the UUID of machines that have none, names no document.
func DocumentIDs(id Identity) []string {
	matches := []Match{{UUID: strings.ToLower(id.UUID)}, {Serial: id.Serial}}
	for _, mac := range id.MACs {
		matches = append(matches, Match{MAC: strings.ToLower(mac)})
	}
	var ids []string
	for _, match := range matches {
		if id := DocumentID(match); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}
