package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a completion script for bash, zsh or fish", ArgsUsage: "bash|zsh|fish",
		Description: "EXAMPLE:\n   privsgld completion bash > /etc/bash_completion.d/privsgld",
		Flags:       shared(),
		Action: func(c *cli.Context) error {
			switch shell := c.Args().First(); shell {
			case "bash":
				return writeAll(c, []byte(bashCompletion(c.App)))
			case "zsh":
				return writeAll(c, []byte("#compdef privsgld\nautoload -U +X bashcompinit && bashcompinit\n"+bashCompletion(c.App)))
			case "fish":
				script, err := c.App.ToFishCompletion()
				if err != nil {
					return fmt.Errorf("completion: %w", err)
				}
				return writeAll(c, []byte(script))
			default:
				return usagef("unknown shell %q: use bash, zsh or fish", shell)
			}
		},
	}
}

// bashCompletion offers, at each point, the commands or flags that may follow.
func bashCompletion(app *cli.App) string {
	var b strings.Builder
	b.WriteString("_privsgld() {\n  local cur=\"${COMP_WORDS[COMP_CWORD]}\" path=\"\" w words=\"\"\n")
	b.WriteString("  for w in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do [[ \"$w\" == -* ]] || path=\"$path $w\"; done\n  case \"$path\" in\n")
	walk := func(path string, commands []*cli.Command) {
		for _, c := range commands {
			var words []string
			for _, s := range c.Subcommands {
				words = append(words, s.Name)
			}
			for _, f := range c.Flags {
				words = append(words, "--"+f.Names()[0])
			}
			fmt.Fprintf(&b, "    \"%s %s\"*) words=\"%s\" ;;\n", path, c.Name, strings.Join(words, " "))
		}
	}
	for _, c := range app.Commands {
		walk(" "+c.Name, c.Subcommands)
	}
	walk("", app.Commands)
	var top []string
	for _, c := range app.Commands {
		top = append(top, c.Name)
	}
	fmt.Fprintf(&b, "    *) words=\"%s --help --version\" ;;\n  esac\n", strings.Join(top, " "))
	b.WriteString("  if [[ -n \"$words\" && ( \"$cur\" == -* || \"$words\" != --* ) ]]; then COMPREPLY=( $(compgen -W \"$words\" -- \"$cur\") ); fi\n")
	b.WriteString("  [[ ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY=( $(compgen -f -- \"$cur\") )\n}\ncomplete -F _privsgld privsgld\n")
	return b.String()
}
