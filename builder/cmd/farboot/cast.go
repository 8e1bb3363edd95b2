package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/cast"
	wire "github.com/farboot/farboot/payload/cast"
)

// castCommand sends an image to a room.
func castCommand() *cobra.Command {
	v := casting{Options: cast.Options{Limits: cast.DefaultLimits()}}
	c := &cobra.Command{
		Use:   "cast SITE [ENTRY]",
		Short: "Send an image to a whole room at once, by multicast",
		Long: `cast sends the image of a "flash" entry that has "cast:" to all machines that
start that entry, by UDP multicast, to the entry's group. Machines check each
chunk against the signed index, and fetch what they miss from their sites by
HTTP: so one may come late, be slow or lose packets, and this sender may stop,
without anybody having other bytes on its disk, or the others having to wait.

It waits for --machines machines, for at most --wait, sends everything that one
of them lacks, asks what is missing, and sends that as long as two or more lack
something. It ends once each machine has said that it is done or has failed, or
has gone silent, and prints what became of each. If one is not done the exit
status is 1. A report is a claim: nobody signs it.

In the place of a site stands a seekable file where --index names its index and
--group the group.`,
		Example: `  farboot cast out/site
  farboot cast out/site server --machines 24 --wait 15m --interface eth1
  farboot cast out/site --rate 300Mbit --ttl 4 --json
  farboot cast server.zst --index server.caibx --group 239.255.0.1:7400`,
		Args: rangeArgs(1, 2, "a site, and perhaps an entry"),
		RunE: func(c *cobra.Command, args []string) error { return v.run(c, args) },
	}
	f := c.Flags()
	f.StringVar(&v.NIC, "interface", "", "network card (default: the one that the route leads to)")
	f.IntVar(&v.TTL, "ttl", 1, "how many networks packets may enter; routers have to forward multicast")
	f.StringVar(&v.rate, "rate", "", "rate on the wire, such as 300Mbit (default: what the room takes, up to 60 % of the card's)")
	f.IntVar(&v.Machines, "machines", 0, "how many machines to wait for")
	f.DurationVar(&v.Wait, "wait", 0, "how long to wait for machines (default: 15m with --machines, else 30s)")
	f.IntVar(&v.Limits.Passes, "passes", v.Limits.Passes, "how often to send at most")
	f.StringVar(&v.Listen, "listen", "", "address and port for reports (default: the card's, with the group's port)")
	f.StringVar(&v.index, "index", "", "index (.caibx) of a seekable file")
	f.StringVar(&v.group, "group", "", "multicast address and port for a seekable file, of 239.255.0.0/16")
	f.BoolVar(&v.json, "json", false, "print what became of the machines as JSON")
	c.MarkFlagsRequiredTogether("index", "group")
	return c
}

// casting is one run of "farboot cast".
type casting struct {
	cast.Options
	rate, index, group string
	json               bool
}

func (v *casting) run(c *cobra.Command, args []string) (err error) {
	if v.Rate, err = parseRate(v.rate); err != nil || v.TTL < 1 || v.TTL > 255 || v.Limits.Passes < 1 || v.Machines < 0 || v.Wait < 0 {
		if err == nil {
			err = fmt.Errorf("cast: want --ttl from 1 to 255, --passes from 1 on, and no other number below 0")
		}
		return &usageError{err: err, command: c.CommandPath()}
	}
	if v.Wait == 0 {
		v.Wait = 30 * time.Second
		if v.Machines > 0 {
			v.Wait = 15 * time.Minute
		}
	}
	src, err := v.open(c, args)
	if err != nil {
		return err
	}
	defer src.Close()
	p := newProgress(c.ErrOrStderr())
	v.Log = p.step
	v.Progress = everyFive(p)
	room, err := cast.Cast(c.Context(), src, v.Options)
	if out := v.print(c.OutOrStdout(), room); err == nil {
		err = out
	}
	return err
}

// open opens what is to be cast.
func (v *casting) open(c *cobra.Command, args []string) (*cast.Source, error) {
	if v.index == "" {
		src, err := cast.OpenSite(args[0], strings.Join(args[1:], ""))
		if err != nil {
			return nil, withHint(fmt.Errorf("cast: %w", err), `a site's recipe has "flash: {image: ..., cast: {group: \"239.255.0.1:7400\"}}"; --index and --group are for files`)
		}
		return src, nil
	}
	group, err := wire.ParseGroup(v.group)
	if err == nil && len(args) > 1 {
		err = fmt.Errorf("a file has no entry %q", args[1])
	}
	if err != nil {
		return nil, &usageError{err: fmt.Errorf("cast: %w", err), command: c.CommandPath()}
	}
	src, err := cast.OpenFile(args[0], v.index, group)
	if err != nil {
		return nil, fmt.Errorf("cast: %w", err)
	}
	return src, nil
}

// print prints what became of the machines.
func (v *casting) print(w io.Writer, room cast.Room) error {
	if v.json {
		return printJSON(w, map[string][]cast.Machine{"machines": append([]cast.Machine{}, room.Machines...)})
	}
	if len(room.Machines) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MACHINE\tADDRESS\tSTAGE\tCHUNKS\tLOST\tBY HTTP\tWHY")
	for _, m := range room.Machines {
		stage := m.Stage
		if m.Silent {
			stage = "silent"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d of %d\t%.1f %%\t%s\t%s\n", m.Machine, m.Address, stage, m.Have, m.Total,
			100*float64(m.Lost)/float64(max(m.Pieces+m.Lost, 1)), bytesText(m.Repaired), dash(m.Error))
	}
	return t.Flush()
}

// everyFive prints every five seconds how far a room is.
func everyFive(p *progress) func(cast.Room) {
	var last time.Time
	return func(r cast.Room) {
		if time.Since(last) < 5*time.Second {
			return
		}
		last = time.Now()
		p.step("%s", summary(r))
	}
}

// summary says in a line how far a room is.
func summary(r cast.Room) string {
	text := map[wire.State]string{wire.Waiting: "waiting for machines", wire.Asking: "asking what is missing", wire.Over: "waiting for the end"}[r.State]
	if r.State == wire.Sending {
		text = fmt.Sprintf("pass %d: %d of %d chunks, %d Mbit/s", r.Pass, r.Sent, r.Of, r.Rate/1e6)
	}
	ended, silent := 0, 0
	var slowest *cast.Machine
	for i, m := range r.Machines {
		switch {
		case m.Ended():
			ended++
		case m.Silent:
			silent++
		case slowest == nil || m.Have*slowest.Total < slowest.Have*m.Total:
			slowest = &r.Machines[i]
		}
	}
	text += fmt.Sprintf("; %d machines, %d ended, %d silent", len(r.Machines), ended, silent)
	if slowest != nil {
		text += ", the slowest " + slowest.String()
	}
	return text
}

// parseRate reads a rate in bits per second. Empty is 0.
func parseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	for unit, bits := range map[string]float64{"kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			if n, err := strconv.ParseFloat(number, 64); err == nil && n*bits >= 64e3 && n*bits <= 400e9 {
				return int64(n * bits), nil
			}
		}
	}
	return 0, fmt.Errorf("cast: rate %q: want a number from 64kbit to 400Gbit, with kbit, Mbit or Gbit", s)
}
