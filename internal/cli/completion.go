package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (c *completionCmd) Help() string {
	return `bash: source <(adsync completion bash)
zsh: source <(adsync completion zsh)
fish: adsync completion fish | source`
}

func (c *completionCmd) Run(a *app) error {
	cs := commandsOf(a.parser.Model.Node, "")
	switch c.Shell {
	case "bash":
		a.stdout.printf("%s", bashCompletion(cs))
	case "zsh":
		// zsh runs bash's completions by its own adapter; one script has one behaviour.
		a.stdout.printf("autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n%s", bashCompletion(cs))
	case "fish":
		a.stdout.printf("%s", fishCompletion(cs))
	}
	return nil
}

// command is one command as a completion script needs it.
type command struct {
	path  string // "failures list"; empty for adsync itself
	words []word // what may come next
}

type word struct {
	text, help string
	value      bool // a flag that takes a value
	file       bool // … which is a file
	choices    []string
}

func commandsOf(n *kong.Node, path string) []command {
	c := command{path: path}
	var below []command
	for _, child := range n.Children {
		if child.Hidden || child.Type != kong.CommandNode {
			continue
		}
		c.words = append(c.words, word{text: child.Name, help: child.Help})
		below = append(below, commandsOf(child, strings.TrimSpace(path+" "+child.Name))...)
	}
	for _, p := range n.Positional {
		for _, e := range choices(p) {
			c.words = append(c.words, word{text: e})
		}
	}
	for at := n; at != nil; at = at.Parent {
		for _, f := range at.Flags {
			if f.Hidden {
				continue
			}
			c.words = append(c.words, word{
				text: "--" + f.Name, help: f.Help, value: !f.IsBool(), file: f.PlaceHolder == "FILE", choices: choices(f.Value),
			})
		}
	}
	return append([]command{c}, below...)
}

// choices are the values that a flag or an argument may have, where they are few.
func choices(v *kong.Value) []string {
	return slices.DeleteFunc(v.EnumSlice(), func(s string) bool { return s == "" })
}

func bashCompletion(cs []command) string {
	var b strings.Builder
	b.WriteString("# bash completion for adsync\n_adsync() {\n  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" path=\"\" i w\n")
	b.WriteString("  COMPREPLY=()\n")
	// The path is what of the words before names a command.
	var paths []string
	for _, c := range cs {
		if c.path != "" {
			paths = append(paths, "\""+c.path+"\"")
		}
	}
	fmt.Fprintf(&b, "  for ((i = 1; i < COMP_CWORD; i++)); do\n    w=\"${COMP_WORDS[i]}\"\n    case \"${path:+$path }$w\" in\n      %s) path=\"${path:+$path }$w\" ;;\n    esac\n  done\n", strings.Join(paths, "|"))
	b.WriteString("  case \"$prev\" in\n")
	seen := map[string]bool{}
	for _, c := range cs {
		for _, w := range c.words {
			if !w.value || seen[w.text] {
				continue
			}
			seen[w.text] = true
			switch {
			case len(w.choices) > 0:
				fmt.Fprintf(&b, "    %s) COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); return ;;\n", w.text, strings.Join(w.choices, " "))
			case w.file:
				fmt.Fprintf(&b, "    %s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", w.text)
			default:
				fmt.Fprintf(&b, "    %s) return ;;\n", w.text)
			}
		}
	}
	b.WriteString("  esac\n  case \"$path\" in\n")
	for _, c := range cs {
		var words []string
		for _, w := range c.words {
			words = append(words, w.text)
		}
		fmt.Fprintf(&b, "    %q) w=\"%s\" ;;\n", c.path, strings.Join(words, " "))
	}
	b.WriteString("  esac\n  COMPREPLY=($(compgen -W \"$w\" -- \"$cur\"))\n}\ncomplete -F _adsync adsync\n")
	return b.String()
}

func fishCompletion(cs []command) string {
	var b strings.Builder
	b.WriteString("# fish completion for adsync\ncomplete -c adsync -f\n")
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", " ").Replace(s) + "'"
	}
	for _, c := range cs {
		cond := "__fish_use_subcommand"
		var below []string
		for _, w := range c.words {
			if !strings.HasPrefix(w.text, "--") {
				below = append(below, w.text)
			}
		}
		if c.path != "" {
			parts := strings.Fields(c.path)
			for i, p := range parts {
				parts[i] = "__fish_seen_subcommand_from " + p
			}
			cond = strings.Join(parts, "; and ")
			if len(below) > 0 {
				cond += "; and not __fish_seen_subcommand_from " + strings.Join(below, " ")
			}
		}
		for _, w := range c.words {
			fmt.Fprintf(&b, "complete -c adsync -n %s", quote(cond))
			if name, isFlag := strings.CutPrefix(w.text, "--"); isFlag {
				fmt.Fprintf(&b, " -l %s", name)
				switch {
				case len(w.choices) > 0:
					fmt.Fprintf(&b, " -x -a %s", quote(strings.Join(w.choices, " ")))
				case w.file:
					b.WriteString(" -r -F")
				case w.value:
					b.WriteString(" -x")
				}
			} else {
				fmt.Fprintf(&b, " -a %s", w.text)
			}
			if w.help != "" {
				fmt.Fprintf(&b, " -d %s", quote(w.help))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}
