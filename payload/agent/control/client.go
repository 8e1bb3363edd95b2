package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// The exit statuses are those of the command at the desk.
const (
	exitFailed = 1
	exitInput  = 2
)

// help is shown when it is asked for, and beside a mistake.
const help = `farboot talks to the agent that booted this machine.

  farboot info [NAME]                what machine and which boot this is
  farboot fetch NAME [-o FILE]       a file that the manifest names, or an object
                                     by its SHA-256; verified before it is there
  farboot report TEXT                a line for the report; "-" reads it
  farboot disks                      disks, and whether they can be written
  farboot flash ENTRY [--disk ID]    write the image of a flash entry to its disk,
                                     or to the one with that serial number or wwid

What comes next, after the script has ended well, or at once where somebody is
logged in:

  farboot boot ENTRY                 an entry of the manifest
  farboot boot-next                  the next entry of this machine's list
  farboot reboot
  farboot off

Exit status 0 is done, 1 failed, 2 a mistake in the command line.
`

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// Client is the command farboot in the toolbox, from its arguments to its exit
// status. Results go to stdout, all else to stderr.
func Client(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return command(ctx, "/"+socket, args, stdin, stdout, stderr)
}

// command is [Client] with the socket's path.
func command(ctx context.Context, path string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 || len(args) == 1 && (args[0] == "help" || args[0] == "--help" || args[0] == "-h") {
		fmt.Fprint(stdout, help)
		return 0
	}
	c := caller{ctx: ctx, path: path, stdin: stdin, stdout: stdout, stderr: stderr}
	err := c.run(args)
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "farboot: %v\nhint: farboot help\n", err)
		return exitInput
	}
	fmt.Fprintf(stderr, "farboot: %v\n", err)
	return exitFailed
}

// caller is one run of the command.
type caller struct {
	ctx            context.Context
	path           string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// run does what the arguments say.
func (c caller) run(args []string) error {
	verb, rest := args[0], args[1:]
	switch {
	case verb == "info" && len(rest) <= 1:
		return c.info(rest)
	case verb == "fetch" && (len(rest) == 1 || len(rest) == 3 && rest[1] == "-o"):
		return c.fetch(rest[0], append(rest, "", "")[2])
	case verb == "report" && len(rest) > 0:
		return c.report(rest)
	case verb == "disks" && len(rest) == 0:
		return c.disks()
	case verb == "flash" && (len(rest) == 1 || len(rest) == 3 && rest[1] == "--disk"):
		_, err := c.ask(request{Do: verb, Name: rest[0], Disk: append(rest, "", "")[2]}, nil)
		return err
	case verb == DoBoot && len(rest) == 1:
		return c.next(request{Do: verb, Name: rest[0]})
	case (verb == DoNext || verb == DoReboot || verb == DoOff) && len(rest) == 0:
		return c.next(request{Do: verb})
	}
	return &usageError{fmt.Sprintf("%.200q is not understood", strings.Join(args, " "))}
}

// next asks for what comes next.
func (c caller) next(req request) error {
	r, err := c.ask(req, nil)
	if err == nil {
		fmt.Fprintln(c.stdout, r.Text)
	}
	return err
}

// info prints all facts, or one.
func (c caller) info(names []string) error {
	r, err := c.ask(request{Do: "info"}, nil)
	if err != nil {
		return err
	}
	if r.Info == nil {
		return errors.New("the agent did not answer what was asked")
	}
	for _, f := range r.Info.facts() {
		switch {
		case len(names) == 0:
			fmt.Fprintf(c.stdout, "%s: %s\n", f.name, f.value)
		case names[0] == f.name:
			fmt.Fprintln(c.stdout, f.value)
			return nil
		}
	}
	if len(names) == 0 {
		return nil
	}
	return &usageError{fmt.Sprintf("nothing is known by the name of %q", names[0])}
}

// disks prints one line for each disk.
func (c caller) disks() error {
	r, err := c.ask(request{Do: "disks"}, nil)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tGB\tSERIAL\tID\tMODEL\tNOTE")
	for _, d := range r.Disks {
		fmt.Fprintf(w, "%s\t%.1f\t%s\t%s\t%s\t%s\n", d.Node, float64(d.Size)/1e9, dash(d.Serial), dash(d.ID), dash(d.Model), d.Bar)
	}
	return w.Flush()
}

// dash stands for what is not known.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// report sends its arguments, or what it reads, as one line.
func (c caller) report(words []string) error {
	text := strings.Join(words, " ")
	if text == "-" {
		data, err := io.ReadAll(io.LimitReader(c.stdin, MaxText+1))
		if err != nil {
			return err
		}
		text = strings.Join(strings.Fields(string(data)), " ")
	}
	if err := checkText(text); err != nil {
		return &usageError{err.Error()}
	}
	_, err := c.ask(request{Do: "report", Text: text}, nil)
	return err
}

// fetch asks for an object into a file, which has its name only once all of it
// was verified. Without a name it goes to stdout, after the same.
func (c caller) fetch(name, file string) error {
	if file == "" || file == "-" {
		fd, err := unix.MemfdCreate("farboot", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "memory")
		defer f.Close()
		if _, err := c.ask(request{Do: "fetch", Name: name}, f); err != nil {
			return err
		}
		_, err = io.Copy(c.stdout, io.NewSectionReader(f, 0, 1<<62))
		return err
	}
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return &usageError{fmt.Sprintf("%q is no file; to write to a disk, use farboot flash", file)}
	}
	part := file + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = c.ask(request{Do: "fetch", Name: name}, f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(part, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return nil
}

// ask sends a request, with a file where there is one, shows progress, and returns
// the last line of the answer.
func (c caller) ask(req request, f *os.File) (reply, error) {
	conn, err := (&net.Dialer{}).DialContext(c.ctx, "unix", c.path)
	if err != nil {
		return reply{}, fmt.Errorf("the agent does not listen: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(c.ctx, func() { conn.Close() })()
	line, err := json.Marshal(req)
	if err != nil {
		return reply{}, err
	}
	var rights []byte
	if f != nil {
		rights = unix.UnixRights(int(f.Fd()))
	}
	if _, _, err := conn.(*net.UnixConn).WriteMsgUnix(append(line, '\n'), rights, nil); err != nil {
		return reply{}, fmt.Errorf("the agent does not listen: %w", err)
	}
	return c.answer(conn)
}

// answer reads lines until the last.
func (c caller) answer(conn io.Reader) (reply, error) {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxReply)
	for lines.Scan() {
		var r reply
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return reply{}, fmt.Errorf("the agent's answer: %w", err)
		}
		switch {
		case r.Done && r.Error != "":
			return reply{}, errors.New(r.Error)
		case r.Done:
			return r, nil
		}
		fmt.Fprintln(c.stderr, r.Text)
	}
	if err := lines.Err(); err != nil {
		return reply{}, fmt.Errorf("the agent's answer: %w", err)
	}
	return reply{}, errors.New("the agent went away")
}
