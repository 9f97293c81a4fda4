package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/cmd/job"
)

// exitHelp ends the help of every command.
const exitHelp = `
EXIT CODES:
   0 done · 1 internal error, or an output that could not be written · 2 wrong usage
   3 refused by the budget · 4 refused by the policy · 5 bad data · 6 ledger unusable
   130 interrupted`

// run is the program as a function of its arguments and streams.
func run(ctx context.Context, argv []string, stdout, stderr io.Writer) int {
	format := wantedFormat(argv[1:], os.Getenv("PRIVSGLD_OUTPUT"))
	app := newApp(stdout, stderr)
	arranged, err := arrange(app, argv)
	if err != nil {
		return fail(err, format, stdout, stderr)
	}
	if !arranged.help && format != "" && format != "text" && format != "json" && (arranged.command == nil || arranged.command.Name != "completion") {
		return fail(usagef("unknown output %q: use text or json", format), "text", stdout, stderr)
	}
	if err := app.RunContext(ctx, arranged.args); err != nil {
		return fail(err, format, stdout, stderr)
	}
	return exitDone
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:            "privsgld",
		Usage:           "Bayesian posterior samples and a budget, under differential privacy",
		Version:         programInfo().Version,
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		ExitErrHandler:  func(*cli.Context, error) {},
		Commands: []*cli.Command{
			runCommand(), planCommand(), diagnoseCommand(), predictCommand(), budgetCommand(), accountCommand(), policyCommand(), dataCommand(), ledgerCommand(), versionCommand(), completionCommand(),
		},
	}
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintln(c.App.Writer, c.App.Name, c.App.Version) }
	finish(app.Commands)
	return app
}

// finish sets on every command what the library would otherwise do in its own
// way: help text on standard output for errors, exit codes of its own.
func finish(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		c.Before = checkLogLevel
		c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return &usageError{message: err.Error()} }
		if c.Action != nil {
			c.Description += "\n" + exitHelp
		}
		finish(c.Subcommands)
	}
}

// logLevels are the values of --log-level, quietest first.
var logLevels = []string{"error", "warn", "info"}

func checkLogLevel(c *cli.Context) error {
	if level := c.String("log-level"); level != "" && !slices.Contains(logLevels, level) {
		return usagef("unknown log level %q: use error, warn or info", level)
	}
	return nil
}

// noEnvironment lists the flags without an environment variable: what decides
// about one job belongs on its command line.
var noEnvironment = map[string]bool{"epsilon": true, "delta": true, "out": true, "resume": true}

// env names a flag's environment variable.
func env(name string) []string {
	if noEnvironment[name] {
		return nil
	}
	return []string{"PRIVSGLD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}
}

func text(name, value, usage string, aliases ...string) *cli.StringFlag {
	return &cli.StringFlag{Name: name, Aliases: aliases, Value: value, Usage: usage, EnvVars: env(name)}
}

func boolean(name, usage string) *cli.BoolFlag {
	return &cli.BoolFlag{Name: name, Usage: usage, EnvVars: env(name)}
}

// shared are the flags of every command.
func shared() []cli.Flag {
	return []cli.Flag{
		text("output", "text", "`FORMAT` of the result: text or json", "o"),
		boolean("quiet", "no progress, no warnings"),
		text("log-level", "warn", "`LEVEL` of messages on standard error: error, warn or info"),
	}
}

// ledgerFlags are the flags of every command that opens the ledger.
func ledgerFlags() []cli.Flag {
	return []cli.Flag{
		text("ledger", "", "`LEDGER` to charge: sqlite:PATH or postgres://USER@HOST/DATABASE (default: in the user's state directory)"),
		text("ledger-timeout", "60s", "`TIME` to wait for a locked ledger"),
	}
}

// openLedger opens the ledger that the flags name.
func openLedger(c *cli.Context) func(context.Context) (*ledger.Ledger, error) {
	return ledgerOpener(c, false)
}

func ledgerOpener(c *cli.Context, mustExist bool) func(context.Context) (*ledger.Ledger, error) {
	return func(ctx context.Context) (*ledger.Ledger, error) {
		timeout, err := time.ParseDuration(c.String("ledger-timeout"))
		if err != nil || timeout < 0 {
			return nil, usagef("--ledger-timeout %q is no time: write it like 60s", c.String("ledger-timeout"))
		}
		state, err := ledger.DefaultStateDir()
		if err != nil {
			return nil, err
		}
		return ledger.Open(ctx, ledger.Options{DSN: c.String("ledger"), StateDir: state, Clock: time.Now, Timeout: timeout, MustExist: mustExist})
	}
}

// plainNumber is the grammar of numbers on the command line: what a person
// would write, without hexadecimal, leading zeros (octal to some), underscores,
// NaN or infinity.
var plainNumber = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$`)

// leastNormal is the least float64 with all its digits. Smaller numbers are
// refused: what they are read as may be far from what was written.
const leastNormal = 0x1p-1022

// number reads an optional flag; nil where it was not given.
func number(c *cli.Context, name string) (*float64, error) {
	s := c.String(name)
	if s == "" {
		return nil, nil
	}
	if !plainNumber.MatchString(s) {
		return nil, usagef("%s %q is no plain non-negative number", flagText(name), s)
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v < leastNormal && !zeroText.MatchString(s) {
		return nil, usagef("%s %q is out of range", flagText(name), s)
	}
	return &v, nil
}

// count reads an optional whole number; nil where it was not given.
func count(c *cli.Context, name string) (*int64, error) {
	s := c.String(name)
	if s == "" {
		return nil, nil
	}
	v, err := strconv.ParseUint(s, 10, 62)
	if err != nil || len(s) > 1 && s[0] == '0' {
		return nil, usagef("%s %q is no whole number", flagText(name), s)
	}
	n := int64(v)
	return &n, nil
}

// bytes reads a size such as 512MiB, 2GB or a plain number of bytes.
func bytesOf(c *cli.Context, name string) (int64, error) {
	s := strings.TrimSpace(c.String(name))
	if s == "" {
		return 0, nil
	}
	units := []struct {
		suffix string
		factor int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		digits = strings.TrimSpace(digits)
		v, err := strconv.ParseUint(digits, 10, 40)
		if err != nil || digits[0] == '0' {
			break
		}
		return int64(v) * u.factor, nil
	}
	return 0, usagef("%s %q is no size: write it like 512MiB", flagText(name), s)
}

// defaultAnalyst is the operating system's user.
func defaultAnalyst() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}

// programInfo is what the build recorded of itself.
func programInfo() job.Program {
	p := job.Program{Version: "devel", Revision: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return p
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		p.Version = v
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			p.Revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			p.Revision += "+modified"
		}
	}
	return p
}
