package realtime

import (
	"fmt"
	"io"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-realtime/realtime/rules"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "realtime",
		Usage:     "<command>",
		Short:     "Tools for the realtime module: tokens, tests of rules, presets",
		Long:      "Tools for those who write rules for the realtime module.",
		CobraFunc: addCommands,
	})
}

// addCommands makes cmd the parent of the module's commands. A parent that does
// not run succeeds with whatever it is given: a typo would pass for a test.
func addCommands(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(tokenCommand(), testCommand(), presetCommand())
}

func presetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "preset [<name>]",
		Short: "Prints a preset, or lists them",
		Long:  "Prints the rules of a preset, to be copied and changed. Without a name, lists what there is.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listPresets(cmd.OutOrStdout())
			}
			if _, err := rules.LoadPreset(args[0]); err != nil {
				return err
			}
			source, _ := rules.PresetSource(args[0])
			_, err := io.WriteString(cmd.OutOrStdout(), source)
			return err
		},
	}
}

// listPresets writes each preset's name and first sentence.
func listPresets(w io.Writer) error {
	for _, name := range rules.PresetNames() {
		source, _ := rules.PresetSource(name)
		first, _, _ := strings.Cut(source, "\n")
		about := strings.TrimPrefix(strings.TrimPrefix(first, "# "), name+": ")
		if _, err := fmt.Fprintf(w, "%-10s %s\n", name, about); err != nil {
			return err
		}
	}
	return nil
}
