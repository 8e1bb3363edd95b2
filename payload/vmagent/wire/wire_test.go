package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// What is written arrives in its order, cut into frames where it is long.
func TestStream(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	long := bytes.Repeat([]byte("abc"), MaxData)
	for _, kind := range []Kind{Stdout, Stderr} {
		if n, err := w.Stream(kind).Write(long); n != len(long) || err != nil {
			t.Fatal(n, err)
		}
	}
	if n, err := w.Stream(Stdout).Write(nil); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if err := w.Send(Stdin, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Send(Stdin, long); !errors.Is(err, ErrFrame) {
		t.Errorf("a frame of %d bytes: %v", len(long), err)
	}
	got := map[Kind][]byte{}
	frames := 0
	for {
		f, err := Read(&b)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[f.Kind] = append(got[f.Kind], f.Data...)
		frames++
	}
	if !bytes.Equal(got[Stdout], long) || !bytes.Equal(got[Stderr], long) || frames != 7 {
		t.Errorf("%d frames, %d and %d bytes", frames, len(got[Stdout]), len(got[Stderr]))
	}
}

func TestReadRefuses(t *testing.T) {
	for name, data := range map[string]string{
		"kind 0":   "\x00\x00\x00\x00\x00",
		"unknown":  "\x09\x00\x00\x00\x00",
		"too long": "\x05\x00\x01\x00\x01",
		"cut":      "\x05\x00\x00\x00\x02a",
		"no data":  "\x05\x00\x00\x00\x02",
	} {
		if _, err := Read(bytes.NewReader([]byte(data))); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(bytes.NewReader([]byte("\x05\x00"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a head: %v", err)
	}
}

// FuzzRead: whatever a guest says, reading it takes bounded memory, and a frame that is
// taken is written as it was.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x05\x00\x00\x00\x02ab\x07\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		var again bytes.Buffer
		for {
			before := len(data) - r.Len()
			frame, err := Read(r)
			if err != nil {
				return
			}
			again.Reset()
			if err := NewWriter(&again).Send(frame.Kind, frame.Data); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.Bytes(), data[before:len(data)-r.Len()]) {
				t.Fatalf("frame %+v is written as %q", frame, again.Bytes())
			}
		}
	})
}
