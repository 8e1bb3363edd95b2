package fat

import (
	"io"
	"strings"
)

// Label returns what a file system is called, as every computer shows it: the label
// in its root directory. One without is "".
func Label(r io.ReaderAt) (string, error) {
	v, err := open(r)
	if err != nil {
		return "", err
	}
	data, err := v.directory(v.rootAt)
	if err != nil {
		return "", err
	}
	for ; len(data) >= entrySize && data[0] != 0; data = data[entrySize:] {
		if attributes := data[11] & 0x3f; data[0] != 0xe5 && attributes != isLong && attributes&isVolume != 0 {
			return strings.TrimRight(string(data[:11]), " "), nil
		}
	}
	return "", nil
}
