package daemon

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/peterbourgon/ff/v3"

	"darktower.example/global-controller/service"
)

// ParseConfig reads the settings from flags, the environment and the file, in this order of precedence. An error names the
// setting, its value and the allowed values. [flag.ErrHelp] means that the help was requested and printed.
func ParseConfig(args []string, out io.Writer) (Config, error) {
	values, err := readValues(args)
	if errors.Is(err, flag.ErrHelp) {
		PrintHelp(out)
	}
	if err != nil {
		return Config{}, err
	}

	var c Config
	for _, s := range settings() {
		value := *values[s.name]
		if err := s.parse(&c, value); err != nil {
			return Config{}, fmt.Errorf("%s (--%s) is %q: allowed is %s", s.name, s.flag(), s.redactValue(value), s.allowed)
		}
	}
	return c, c.deriveAndValidate()
}

// readValues returns the value of each setting by its name.
func readValues(args []string) (map[string]*string, error) {
	flags := flag.NewFlagSet("global-controller", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	values := make(map[string]*string)
	for _, s := range settings() {
		value := s.defaultValue
		values[s.name] = &value
		if s.isBool {
			flags.Var(boolValue{&value}, s.flag(), s.help)
		} else {
			flags.StringVar(&value, s.flag(), s.defaultValue, s.help)
		}
	}

	err := ff.Parse(flags, args, ff.WithEnvVars(), ff.WithConfigFileFlag("gc-config-file"), ff.WithConfigFileParser(parseFile))
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, flag.ErrHelp
	case err != nil:
		return nil, fmt.Errorf("read settings: %w (see --help)", err)
	case flags.NArg() > 0 && !service.IsValidName(flags.Arg(0), maxShownWord):
		// The argument is not shown: it may be the address of a database whose flag was left out.
		return nil, errors.New("unknown command (see --help)")
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unknown command %q (see --help)", flags.Arg(0))
	}
	return values, nil
}

// parseFile reads lines NAME=value, where a name is that of the variable or of the flag. It skips empty lines and lines that
// begin with #. Its errors do not quote a line, because a line may contain a password.
func parseFile(r io.Reader, set func(name, value string) error) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !ok || !service.IsValidName(name, maxShownWord) {
			return fmt.Errorf("line %d is not NAME=value", n)
		}

		flagName := setting{name: name}.flag()
		if !slices.ContainsFunc(settings(), func(s setting) bool { return s.flag() == flagName }) {
			return fmt.Errorf("line %d: %q is not a setting", n, flagName)
		}
		if err := set(flagName, strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// boolValue allows a flag that is true or false without a value, which means true.
type boolValue struct{ text *string }

// String implements [flag.Value].
func (b boolValue) String() string {
	if b.text == nil {
		return ""
	}
	return *b.text
}

// Set implements [flag.Value].
func (b boolValue) Set(s string) error { *b.text = s; return nil }

// IsBoolFlag is what package flag calls to find out that the value may be left out.
func (b boolValue) IsBoolFlag() bool { return true }
