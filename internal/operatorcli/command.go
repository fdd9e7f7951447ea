package operatorcli

import (
	"slices"

	"github.com/spf13/cobra"
)

// commandGroup returns a command that only has sub-commands.
func commandGroup(use, short, long, example string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long,
		Example: example,
		Args:    cobra.ArbitraryArgs,
		RunE:    func(cmd *cobra.Command, args []string) error { return unknownCommandError(cmd, args) },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// unknownCommandError is the error of a command that only has sub-commands, when the arguments name none of them.
func unknownCommandError(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageError("%s needs a command; see %s --help", cmd.CommandPath(), cmd.CommandPath())
	}

	cmd.SuggestionsMinimumDistance = 2
	hint := ""
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		hint = "; did you mean " + joinOr(similar) + "?"
	}
	return usageError("unknown command %q%s; see %s --help", clean(args[0]), hint, cmd.CommandPath())
}

// requireArgs returns a check of the number of arguments. If maximum is negative, there is none. expected describes them in the
// error.
func requireArgs(minimum, maximum int, expected string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= minimum && (maximum < 0 || len(args) <= maximum) {
			return nil
		}
		return usageError("%s takes %s, got %s; see %s --help",
			cmd.CommandPath(), expected, formatCount(int64(len(args)), "argument", "arguments"), cmd.CommandPath())
	}
}

// addOutputFlag adds -o.
func addOutputFlag(cmd *cobra.Command, output *string, formats ...string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "output `FORMAT`: "+joinOr(formats)+"; by default a table")
	_ = cmd.RegisterFlagCompletionFunc("output", completeWords(formats...))
}

// addReasonFlag adds --reason.
func addReasonFlag(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", "", "reason `TEXT`, recorded in the history")
	disableFileCompletion(cmd, "reason")
}

// addGenerationFlag adds --expected-generation. The returned function returns its value, or nil if the flag is not given.
func addGenerationFlag(cmd *cobra.Command) (value func() *uint64) {
	const name = "expected-generation"
	generation := cmd.Flags().Uint64(name, 0,
		"only if the controller has not changed since: its generation `N`, as fleet show prints it")
	disableFileCompletion(cmd, name)

	return func() *uint64 {
		if !cmd.Flags().Changed(name) {
			return nil
		}
		return generation
	}
}

// checkGeneration returns an error if one generation is given for several controllers.
func checkGeneration(generation *uint64, ids []string) error {
	if generation != nil && len(ids) > 1 {
		return usageError("--expected-generation applies to one controller: give one id")
	}
	return nil
}

// withoutDuplicates returns the arguments in their order, each of them once.
func withoutDuplicates(args []string) []string {
	var unique []string
	for _, arg := range args {
		if !slices.Contains(unique, arg) {
			unique = append(unique, arg)
		}
	}
	return unique
}
