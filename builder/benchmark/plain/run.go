package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/agent/network"
)

// run downloads everything in both ways.
func run() error {
	say("started")
	if os.Getpid() != 1 {
		return errors.New("this is /init of a benchmark and runs as PID 1 only")
	}
	if err := connect(); err != nil {
		return err
	}
	urls, err := os.ReadFile("/urls")
	if err != nil {
		return err
	}
	for way, get := range map[string]func(url string) (int64, string, error){"http": get, "curl": curl} {
		for _, url := range strings.Fields(string(urls)) {
			start := time.Now()
			n, sum, err := get(url)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", way, url, err)
			}
			say("%s: %s: %d bytes in %.3f s", way, sum, n, time.Since(start).Seconds())
		}
	}
	say("done")
	return nil
}

// say prints a line headed by the time since the kernel's start, as the agent's
// lines are.
func say(format string, args ...any) {
	fmt.Printf("[%7.2f] plain: %s\n", console.Uptime().Seconds(), fmt.Sprintf(format, args...))
}

// connect brings the machine onto the network.
func connect() error {
	if err := hardware.Mount(); err != nil {
		return err
	}
	ctx, sysfs := context.Background(), os.DirFS("/sys")
	loader := hardware.NewLoader(sysfs, path.Join("/lib/modules", hardware.Release()), say)
	go loader.Run(ctx)
	loader.Wait(ctx, time.Minute)
	if err := hardware.WaitEntropy(ctx, say); err != nil {
		return err
	}
	_, _, err := network.Open(ctx, sysfs, network.DefaultLimits(), say).Next(ctx)
	return err
}

// get fetches by net/http.
func get(url string) (int64, string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	h := sha256.New()
	n, err := io.Copy(h, resp.Body)
	return n, fmt.Sprintf("%x", h.Sum(nil)), err
}

// curl fetches by "curl | sha256sum".
func curl(url string) (int64, string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	defer r.Close()
	fetch := exec.Command("/usr/bin/curl", "-sS", "-w", "%{stderr}%{size_download}", url)
	var size strings.Builder
	fetch.Stdout, fetch.Stderr = w, &size
	if err := fetch.Start(); err != nil {
		w.Close()
		return 0, "", err
	}
	w.Close()
	hash := exec.Command("/usr/bin/sha256sum")
	hash.Stdin = r
	sum, err := hash.Output()
	if err := errors.Join(err, fetch.Wait()); err != nil {
		return 0, "", fmt.Errorf("%w: %s", err, size.String())
	}
	var n int64
	_, err = fmt.Sscan(size.String(), &n)
	return n, strings.TrimSuffix(string(sum), "  -\n"), err
}
