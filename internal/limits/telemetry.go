package limits

// Bounds of metrics, whose labels clients and servers choose.
const (
	// MetricsSeries is how many servers, methods and tools have series of their own.
	MetricsSeries = 2_000
	// MetricsLabel is how many bytes a label may have.
	MetricsLabel = 128
	// MetricsRequests is how many may ask for the metrics at a time.
	MetricsRequests = 4
)
