package power

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// digest is HTTP's digest authentication (RFC 7616) with quality of protection
// "auth", by MD5, which is all that AMT knows, or SHA-256. It hides the password
// from who listens, and does nothing for what is said.
type digest struct {
	user, password string

	realm, nonce, opaque string
	algorithm            string // as the server wrote it
	count                int    // of the uses of the nonce
}

// authorize returns the header for the next request, or "" before there was a
// challenge.
func (d *digest) authorize(method, uri string) string {
	if d.nonce == "" {
		return ""
	}
	d.count++
	client := strings.ToLower(rand.Text())
	count := fmt.Sprintf("%08x", d.count)
	header := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", qop=auth, nc=%s, cnonce="%s", response="%s"`,
		quoted(d.user), quoted(d.realm), quoted(d.nonce), uri, count, client, d.response(method, uri, count, client))
	if d.algorithm != "" {
		header += ", algorithm=" + d.algorithm
	}
	if d.opaque != "" {
		header += fmt.Sprintf(`, opaque="%s"`, quoted(d.opaque))
	}
	return header
}

// response proves that the password is known (RFC 7616, 3.4.1).
func (d *digest) response(method, uri, count, client string) string {
	sum := func(parts ...string) string {
		var h hash.Hash = md5.New()
		if strings.EqualFold(d.algorithm, "SHA-256") {
			h = sha256.New()
		}
		h.Write([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(h.Sum(nil))
	}
	return sum(sum(d.user, d.realm, d.password), d.nonce, count, client, "auth", sum(method, uri))
}

// challenge takes what a server sends with status 401. Fresh tells whether it is
// worth to answer: there was no challenge before, or the last one is too old.
func (d *digest) challenge(headers []string) (fresh bool, err error) {
	for _, h := range headers {
		kind, rest, _ := strings.Cut(h, " ")
		if !strings.EqualFold(kind, "Digest") {
			continue
		}
		p := parameters(rest)
		hasAuth := false
		for option := range strings.SplitSeq(p["qop"], ",") {
			hasAuth = hasAuth || strings.TrimSpace(option) == "auth"
		}
		algorithm := p["algorithm"]
		if !hasAuth || p["nonce"] == "" || algorithm != "" && !strings.EqualFold(algorithm, "MD5") && !strings.EqualFold(algorithm, "SHA-256") {
			continue
		}
		fresh = d.nonce == "" || strings.EqualFold(p["stale"], "true")
		d.realm, d.nonce, d.opaque, d.algorithm, d.count = p["realm"], p["nonce"], p["opaque"], algorithm, 0
		return fresh, nil
	}
	return false, fmt.Errorf("%w: it wants another authentication than digest: %+.100q", ErrUnsupported, headers)
}

// parameters splits `a="b", c=d`. Names come in lower case.
func parameters(s string) map[string]string {
	all := map[string]string{}
	for s != "" {
		name, rest, ok := strings.Cut(s, "=")
		if !ok {
			break
		}
		name = strings.ToLower(strings.Trim(name, ", \t"))
		var value strings.Builder
		if strings.HasPrefix(rest, `"`) {
			i := 1
			for ; i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] == '\\' && i+1 < len(rest) {
					i++
				}
				value.WriteByte(rest[i])
			}
			s = rest[min(i+1, len(rest)):]
		} else {
			var word string
			word, s, _ = strings.Cut(rest, ",")
			value.WriteString(strings.TrimSpace(word))
		}
		all[name] = value.String()
	}
	return all
}

// quoted makes text safe between quotes.
func quoted(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }
