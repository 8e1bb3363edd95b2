//go:build bench

package benchmark

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cost is what one run takes: time on the clock and time of processors, that
// of child processes included.
type cost struct{ wall, cpu time.Duration }

// contender is one of several ways to come to a result.
type contender struct {
	name   string
	result string // the file that it makes, if any
	runs   int
	// prepare comes before each run and does not count. It may be nil.
	prepare func()
	// run returns the processor time of the processes that it started.
	run func() time.Duration
}

// race lets the contenders run in turns and returns the median cost of each.
func race(t *testing.T, contenders []contender) []cost {
	t.Helper()
	costs := make([][]cost, len(contenders))
	for round, more := 0, true; more; round++ {
		more = false
		for i, c := range contenders {
			if round >= c.runs {
				continue
			}
			more = true
			if c.prepare != nil {
				c.prepare()
			}
			one := measure(c.run)
			costs[i] = append(costs[i], one)
			t.Logf("%d. %s: %s, CPU %s", round+1, c.name, seconds(one.wall), seconds(one.cpu))
		}
	}
	medians := make([]cost, len(contenders))
	for i, all := range costs {
		medians[i] = median(all)
	}
	return medians
}

// measure runs f once.
func measure(f func() time.Duration) cost {
	before, start := ownTime(), time.Now()
	children := f()
	return cost{time.Since(start), ownTime() - before + children}
}

// ownTime is the processor time of this process so far.
func ownTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // fails for wrong arguments only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// median returns the middle of each kind of cost.
func median(all []cost) cost {
	return cost{
		middle(all, func(c cost) time.Duration { return c.wall }),
		middle(all, func(c cost) time.Duration { return c.cpu }),
	}
}

// middle returns the median of what by gets from each item.
func middle[T any](all []T, by func(T) time.Duration) time.Duration {
	var ds []time.Duration
	for _, item := range all {
		ds = append(ds, by(item))
	}
	slices.Sort(ds)
	return (ds[(len(ds)-1)/2] + ds[len(ds)/2]) / 2
}

// execute runs a command to its end and returns its processor time, with that
// of the commands that it ran.
func execute(t *testing.T, cmd *exec.Cmd) time.Duration {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out.Bytes())
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// shell returns a run of a command line.
func shell(t *testing.T, format string, args ...any) func() time.Duration {
	return func() time.Duration {
		t.Helper()
		return execute(t, exec.Command("sh", "-e", "-c", fmt.Sprintf(format, args...)))
	}
}

// need fails where a program is missing that others are compared with.
func need(t *testing.T, program, debianPackage string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is what farboot is compared with: install the Debian package %s", program, debianPackage)
	}
}
