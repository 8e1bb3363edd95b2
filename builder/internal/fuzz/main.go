// Command fuzz runs every fuzz target of the project for a while each: "go
// test -fuzz" takes one target of one package at a time. "make test" gives each
// some seconds, which finds slips; a night finds more:
//
//	go run ./builder/internal/fuzz -time 10m
//
// It stops at the first target that fails; go test leaves the input in the
// package's testdata folder.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

// target is one fuzz function.
type target struct{ dir, name string }

// run fuzzes every target.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("fuzz", flag.ContinueOnError)
	each := flags.Duration("time", 0, "how long to fuzz each target")
	if err := flags.Parse(args); err != nil {
		return err
	}
	targets, err := find()
	if err != nil {
		return err
	}
	for _, t := range targets {
		// Shrinking each interesting input for up to a minute, as go test does
		// by itself, leaves no time to find a second one.
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), "-fuzzminimizetime", "10x", "./"+t.dir)
		text, err := cmd.CombinedOutput()
		if err != nil && !timeIsUp.Match(text) {
			return fmt.Errorf("%s in %s: %w\n%s", t.name, t.dir, err, text)
		}
		fmt.Fprintf(out, "ok\t%s.%s\t%s\n", t.dir, t.name, *each)
	}
	fmt.Fprintf(out, "%d fuzz targets\n", len(targets))
	return nil
}

// timeIsUp is how go test before Go 1.27 now and then ends a run that found
// nothing: its own deadline passes between two of its contexts and is taken for
// a failure of the target (go.dev/issue/75804). A failure that is one has more
// lines below its name, at least that of the input it wrote.
var timeIsUp = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w+ \([0-9.]+s\)\n +context deadline exceeded\nFAIL\n`)

// fuzzFunc finds the names of fuzz functions in a test file.
var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// find lists the fuzz targets below the current folder.
func find() ([]target, error) {
	var targets []target
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range fuzzFunc.FindAllSubmatch(text, -1) {
			targets = append(targets, target{filepath.ToSlash(filepath.Dir(path)), string(m[1])})
		}
		return err
	})
	return targets, err
}
