package daemon

import (
	"io"
	"strings"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// maxLoggedText is how many bytes of a caller's text are logged.
const maxLoggedText = 128

// NewLogger returns a structured logger that writes to w.
func NewLogger(w io.Writer, cfg Config) log.Logger {
	logger := log.NewLogfmtLogger(log.NewSyncWriter(w))
	if cfg.LogFormat == "json" {
		logger = log.NewJSONLogger(log.NewSyncWriter(w))
	}

	// The configuration allows only the four levels.
	lowest := level.ParseDefault(cfg.LogLevel, level.InfoValue())
	return log.With(level.NewFilter(logger, level.Allow(lowest)), "ts", log.DefaultTimestampUTC)
}

// truncate limits a caller's text to the size of a log line.
func truncate(text string) string {
	if len(text) > maxLoggedText {
		text = text[:maxLoggedText] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
