package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The flag library parses no flag after the first argument, lets a repeated
// flag win silently and gives unknown commands an exit code of their own.
// arrange reads the command line against the command tree first, refuses what
// is wrong in one line, and hands the library commands, then flags, then
// arguments.

// arrangement is a command line in the order that the library wants.
type arrangement struct {
	command *cli.Command // nil: the program itself
	args    []string     // program, commands, flags, "--", arguments
	help    bool
}

// maxArgs is how many arguments each command takes; 0 where it is not listed.
var maxArgs = map[string]int{"policy validate": 1, "policy show": 1, "policy init": 1, "policy diff": 2, "policy sign": 1, "policy keygen": 1, "completion": 1,
	"account compose": 1, "account export": 1, "diagnose": 1000}

// multi lists the flags that may be given more than once.
var multi = []string{"features"}

func arrange(app *cli.App, argv []string) (*arrangement, error) {
	a := &arrangement{args: []string{argv[0]}}
	commands := app.Commands
	var path, flags, rest []string
	type given struct{ name, value string }
	var options []given
	tokens := argv[1:]
	for i := 0; i < len(tokens); i++ {
		tok := tokens[i]
		switch {
		case tok == "--":
			rest = append(rest, tokens[i+1:]...)
			i = len(tokens)
		case tok == "-h" || tok == "--help" || tok == "help" && len(path) == 0:
			a.help = true
		case len(tok) > 1 && tok[0] == '-':
			name, value, inline := strings.Cut(strings.TrimLeft(tok, "-"), "=")
			f := findFlag(app, name)
			if f == nil {
				return nil, usagef("unknown flag %s", flagText(name))
			}
			name = f.Names()[0]
			if _, isBool := f.(*cli.BoolFlag); isBool {
				if !inline {
					value = "true"
				}
				if value != "true" && value != "false" {
					return nil, usagef("%s takes no value", flagText(name))
				}
			} else if !inline {
				i++
				if i == len(tokens) {
					return nil, usagef("%s needs a value", flagText(name))
				}
				value = tokens[i]
			}
			if value == "" {
				return nil, usagef("%s is empty: give a value, or leave it out", flagText(name))
			}
			options = append(options, given{name, value})
		default:
			if len(rest) == 0 {
				if c := findCommand(commands, tok); c != nil {
					a.command, commands = c, c.Subcommands
					path = append(path, c.Name)
					continue
				}
				if len(commands) > 0 {
					return nil, usagef("unknown command %q", strings.Join(append(path, tok), " "))
				}
			}
			rest = append(rest, tok)
		}
	}
	a.args = append(a.args, path...)
	if a.help {
		a.args = append(a.args, "--help")
		return a, nil
	}
	if a.command == nil || len(a.command.Subcommands) > 0 {
		for _, o := range options {
			if a.command == nil && o.name == "version" {
				a.args = append(a.args, "--version")
				return a, nil
			}
		}
		return nil, usagef("no command: %s", strings.TrimSpace("privsgld "+strings.Join(path, " "))+" needs one")
	}
	seen := map[string]bool{}
	for _, o := range options {
		if !hasFlag(a.command.Flags, o.name) {
			return nil, usagef("%s is no flag of privsgld %s", flagText(o.name), strings.Join(path, " "))
		}
		if seen[o.name] && !slices.Contains(multi, o.name) {
			return nil, usagef("%s is given more than once", flagText(o.name))
		}
		seen[o.name] = true
		flags = append(flags, "--"+o.name+"="+o.value)
	}
	if len(rest) > maxArgs[strings.Join(path, " ")] {
		return nil, usagef("privsgld %s takes no argument %q", strings.Join(path, " "), rest[len(rest)-1])
	}
	a.args = append(a.args, flags...)
	if len(rest) > 0 {
		a.args = append(append(a.args, "--"), rest...)
	}
	return a, nil
}

func flagText(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func findCommand(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func hasFlag(flags []cli.Flag, name string) bool {
	return slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

// findFlag looks a name up anywhere in the tree: whether a flag takes a value
// must be known before the command is.
func findFlag(app *cli.App, name string) cli.Flag {
	if name == "version" || name == "v" {
		return &cli.BoolFlag{Name: "version"}
	}
	var walk func([]*cli.Command) cli.Flag
	walk = func(commands []*cli.Command) cli.Flag {
		for _, c := range commands {
			for _, f := range c.Flags {
				if slices.Contains(f.Names(), name) {
					return f
				}
			}
			if f := walk(c.Subcommands); f != nil {
				return f
			}
		}
		return nil
	}
	return walk(app.Commands)
}

// wantedFormat finds the output format before the command line is understood,
// so that its very errors are in it.
func wantedFormat(argv []string, env string) string {
	format := env
	for i, tok := range argv {
		switch {
		case tok == "--":
			return format
		case (tok == "-o" || tok == "--output") && i+1 < len(argv):
			format = argv[i+1]
		case strings.HasPrefix(tok, "--output="):
			format = strings.TrimPrefix(tok, "--output=")
		case strings.HasPrefix(tok, "-o="):
			format = strings.TrimPrefix(tok, "-o=")
		}
	}
	return format
}
