package sshd

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// user is the only one there is.
const user = "root"

// Names of what a key's login carries, see [ssh.Permissions].
const (
	extFingerprint = "fingerprint@farboot"
	extComment     = "comment@farboot"
)

// protocol returns what is spoken: public keys, and algorithms that OpenSSH has
// had since 6.5 (2014) and that nobody knows to be weak.
func (s *Server) protocol(host ssh.Signer) *ssh.ServerConfig {
	c := &ssh.ServerConfig{
		Config: ssh.Config{
			KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519},
			Ciphers: []string{
				ssh.CipherChaCha20Poly1305, ssh.CipherAES256GCM, ssh.CipherAES128GCM, ssh.CipherAES256CTR, ssh.CipherAES128CTR,
			},
			MACs: []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
		},
		PublicKeyAuthAlgorithms: []string{
			ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
			ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
			ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512,
		},
		MaxAuthTries:      s.config.Limits.Tries,
		PublicKeyCallback: s.permit,
		BannerCallback:    banner,
		ServerVersion:     "SSH-2.0-farboot",
	}
	c.AddHostKey(host)
	return c
}

// banner tells who has the wrong name the right one. It is no secret.
func banner(conn ssh.ConnMetadata) string {
	if conn.User() == user {
		return ""
	}
	return "farboot: log in as " + user + "\r\n"
}

var (
	errUser = errors.New("not the user " + user)
	errKey  = errors.New("this key is not listed")
)

// permit is asked for each key that is offered. What it returns counts for that
// key, and only if its owner proves to have it.
func (s *Server) permit(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if conn.User() != user {
		return nil, errUser
	}
	k, ok := s.keys[string(key.Marshal())]
	if !ok {
		return nil, fmt.Errorf("%w: %s", errKey, ssh.FingerprintSHA256(key))
	}
	return &ssh.Permissions{Extensions: map[string]string{extFingerprint: k.Fingerprint(), extComment: k.Comment}}, nil
}
