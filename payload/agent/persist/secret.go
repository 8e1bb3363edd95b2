package persist

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"os"

	"github.com/farboot/farboot/payload/state"
)

// A secret is kept beside the state, and apart from it: an agent that knows of none
// leaves it alone, and it is never raised, merged or reported. Its record is
//
//	bytes    content
//	0-7      magic
//	8-39     the secret
//	40-71    SHA-256 of the machine's name
//	72-103   SHA-256 of bytes 0-71
//
// on a stick, between the two slots of the state. There is one copy: a torn one is no
// secret any more, and another is made. Firmware variables hold none, since every user
// of every Linux that is started on the machine can read them (efivarfs shows them with
// mode 0644), while a stick takes root, or a hand.
const (
	secretMagic = "farboot\x02"
	// SecretSize is that of a secret, in bytes: the seed of an Ed25519 key.
	SecretSize = 32
	recordSize = len(secretMagic) + SecretSize + 2*sha256.Size
	// secretOffset is where a stick has it, in a block that no slot of the state
	// shares with it, see payload/state.
	secretOffset = 16 << 10
)

var (
	errNoSecret = errors.New("no secret yet")
	// ErrNoPlace says that the machine has no place to keep anything.
	ErrNoPlace = errors.New("this machine has no stick of this medium to keep it on")
)

// Secret returns random bytes that stay the same from boot to boot of the machine of
// that name, and where they are kept. They are made when they are first asked for, or
// where what is kept is damaged or another machine's: a stick goes with the last one.
//
// Whoever is root on the machine while the stick is in it can read it. The error
// names what failed, and holds nothing of the secret.
func (p *Places) Secret(machine string) (secret []byte, from string, err error) {
	there := p.sticks()
	if len(there) == 0 {
		return nil, "", ErrNoPlace
	}
	for _, at := range there {
		record, err := within(p, at, at.loadSecret)
		if err == nil {
			secret, err = openRecord(record, machine)
		}
		if err == nil {
			return secret, at.String(), nil
		}
		if !errors.Is(err, errNoSecret) {
			p.Log("memory: %s: secret: %v", at, err)
		}
	}
	secret = make([]byte, SecretSize)
	if _, err := rand.Read(secret); err != nil {
		return nil, "", err
	}
	var faults []error
	for _, at := range there {
		_, err := within(p, at, func() (struct{}, error) { return struct{}{}, at.saveSecret(makeRecord(secret, machine)) })
		if err == nil {
			return secret, at.String(), nil
		}
		faults = append(faults, err)
	}
	return nil, "", errors.Join(faults...)
}

// makeRecord returns the record of a secret.
func makeRecord(secret []byte, machine string) []byte {
	name := sha256.Sum256([]byte(machine))
	record := append(append([]byte(secretMagic), secret...), name[:]...)
	sum := sha256.Sum256(record)
	return append(record, sum[:]...)
}

// openRecord returns the secret of the machine's own record.
func openRecord(record []byte, machine string) ([]byte, error) {
	if len(bytes.Trim(record, "\x00")) == 0 {
		return nil, errNoSecret
	}
	if len(record) != recordSize || string(record[:len(secretMagic)]) != secretMagic {
		return nil, errors.New("is none, another is made")
	}
	secret := bytes.Clone(record[len(secretMagic):][:SecretSize])
	switch want := makeRecord(secret, machine); {
	case bytes.Equal(record, want):
		return secret, nil
	case !bytes.Equal(record[recordSize-sha256.Size:], sumOfRecord(record)):
		return nil, errors.New("is damaged, another is made")
	}
	return nil, errors.New("is another machine's, another is made")
}

// sumOfRecord returns what a record's last bytes should be.
func sumOfRecord(record []byte) []byte {
	sum := sha256.Sum256(record[:recordSize-sha256.Size])
	return sum[:]
}

func (s stick) loadSecret() ([]byte, error) {
	f, err := os.Open(string(s))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	record := make([]byte, recordSize)
	_, err = f.ReadAt(record, secretOffset)
	return record, err
}

func (s stick) saveSecret(record []byte) error {
	f, err := os.OpenFile(string(s), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(writeSecret(flushed{f}, record), f.Close())
}

// writeSecret writes a whole block, and looks whether it has arrived.
func writeSecret(f flushed, record []byte) error {
	block := make([]byte, state.SlotSize)
	copy(block, record)
	if _, err := f.WriteAt(block, secretOffset); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	got := make([]byte, len(block))
	if _, err := f.ReadAt(got, secretOffset); err != nil {
		return err
	}
	if !bytes.Equal(got, block) {
		return errors.New("what was written is not what is read")
	}
	return nil
}
