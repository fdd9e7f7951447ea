package operatorcli

import "strconv"

// style is the number of an SGR code of the terminal; 0 is none.
type style int

const (
	plain  style = 0
	bold   style = 1
	dim    style = 2
	red    style = 31
	green  style = 32
	yellow style = 33
	blue   style = 34
	purple style = 35
)

// painter adds styles to texts if it is true.
type painter bool

func (p painter) paint(s style, text string) string {
	if !p || s == plain || text == "" {
		return text
	}
	return "\x1b[" + strconv.Itoa(int(s)) + "m" + text + "\x1b[0m"
}

// stateStyle returns the colour of a state. It carries no information of its own, because each state is also shown as a word.
func stateStyle(state string) style {
	switch state {
	case "healthy":
		return green
	case "degraded":
		return yellow
	case "unhealthy":
		return red
	case "draining":
		return purple
	case "pending":
		return blue
	}
	return plain
}
