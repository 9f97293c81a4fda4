// Command privsgld draws Bayesian posterior samples under differential privacy,
// charges every answer to a durable ledger, and refuses once a policy's budget
// is used up. See privsgld --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/privsgld/privsgld/datasets"
)

// grace is how long an interrupted program has to end by itself.
const grace = 5 * time.Second

// errInterrupted is the cause of a cancelled run.
var errInterrupted = errors.New("interrupted: nothing was released; a charge that was reserved stays")

func main() {
	// A process started as the decoder of untrusted files does that and ends here.
	datasets.DecoderMain()
	os.Exit(realMain(os.Args))
}

func realMain(args []string) (code int) {
	harden()
	stderr := ownStderr()
	defer func() {
		if recover() != nil {
			// The panic's text could hold data: a fixed line instead.
			fmt.Fprintln(stderr, "privsgld: internal error; a charge that was reserved stays")
			code = exitInternal
		}
	}()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		cancel(errInterrupted)
		// What does not notice, a read from a pipe for one, ends by force: a run
		// that is killed is safe at any moment.
		select {
		case <-signals:
		case <-time.After(grace):
		}
		fmt.Fprintln(stderr, "privsgld: "+errInterrupted.Error())
		os.Exit(exitInterrupted)
	}()
	return run(ctx, args, os.Stdout, stderr)
}

// harden keeps memory out of stack traces and core files, and the Google
// library's logger out of the temporary folder: it writes files there unless it
// is told to use standard error.
func harden() {
	debug.SetTraceback("none")
	noCoreFiles()
	_ = flag.Set("logtostderr", "true")
	_ = flag.Set("stderrthreshold", "FATAL")
}
