package grpctransport

import (
	"strings"
	"sync"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// heartbeat is one message of a stream, converted to the domain.
type heartbeat struct {
	sequence uint64
	arrived  time.Time
	kind     heartbeatKind
	// report of a fast heartbeat has only the fields of a fast one.
	report service.ComprehensiveHeartbeat
	// next is the next heartbeat of the same controller; the stream's lock guards it.
	next *heartbeat
}

type heartbeatKind uint8

const (
	noHeartbeat heartbeatKind = iota
	fastHeartbeat
	comprehensiveHeartbeat
)

var heartbeats = sync.Pool{New: func() any { return new(heartbeat) }}

// newHeartbeat keeps of a message only the parts that a heartbeat needs, so that waiting heartbeats use little memory.
func newHeartbeat(in *pb.StreamHeartbeatsRequest) *heartbeat {
	h := heartbeats.Get().(*heartbeat) //nolint:forcetypeassert // The pool has nothing else.
	h.sequence, h.arrived = in.GetSequence(), time.Now()

	switch m := in.GetHeartbeat().(type) {
	case *pb.StreamHeartbeatsRequest_Fast:
		h.kind, h.report.FastHeartbeat = fastHeartbeat, fastHeartbeatFromProto(m.Fast)
	case *pb.StreamHeartbeatsRequest_Comprehensive:
		h.kind, h.report = comprehensiveHeartbeat, comprehensiveHeartbeatFromProto(m.Comprehensive)
	}

	if len(h.report.ControllerID) >= maxKeptIDBytes {
		h.report.ControllerID = strings.Clone(h.report.ControllerID[:maxKeptIDBytes])
	}
	if len(h.report.Incarnation) >= maxKeptIDBytes {
		h.report.Incarnation = strings.Clone(h.report.Incarnation[:maxKeptIDBytes])
	}
	return h
}
