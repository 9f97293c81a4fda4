package main

import (
	"os"

	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows step counts on a terminal. Steps are public; it shows no rate
// and no time, which would tell the size of the table.
type progress struct {
	on  bool
	to  *os.File
	p   *mpb.Progress
	bar *mpb.Bar
}

func newProgress(c *cli.Context) *progress {
	f, ok := c.App.ErrWriter.(*os.File)
	return &progress{to: f, on: ok && !c.Bool("quiet") && term.IsTerminal(int(f.Fd()))}
}

func (p *progress) update(done, total int64) {
	if !p.on {
		return
	}
	if p.bar == nil {
		p.p = mpb.New(mpb.WithOutput(p.to), mpb.WithWidth(48))
		p.bar = p.p.AddBar(total,
			mpb.PrependDecorators(decor.Name("steps "), decor.CountersNoUnit("%d / %d")),
			mpb.AppendDecorators(decor.Percentage()),
			mpb.BarRemoveOnComplete())
	}
	p.bar.SetCurrent(done)
}

func (p *progress) done() {
	if p.bar == nil {
		return
	}
	p.bar.Abort(true)
	p.p.Wait()
}
