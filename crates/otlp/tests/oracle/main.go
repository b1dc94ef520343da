// Translates requests with the code of Prometheus' own OTLP receiver. The test prometheus.rs compares with it.
//
// Each line of standard input is a JSON object: {"settings": {...}, "request": {...}}, where the request is an
// ExportMetricsServiceRequest. Each line of standard output is the result of one:
// {"protobuf": BASE64 of the request, "error": TEXT, "samples": [...]}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	prw "github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"
)

type request struct {
	Settings settings        `json:"settings"`
	Request  json.RawMessage `json:"request"`
}

type settings struct {
	Strategy   string   `json:"translation_strategy"`
	Promote    []string `json:"promote_resource_attributes"`
	PromoteAll bool     `json:"promote_all_resource_attributes"`
	Ignore     []string `json:"ignore_resource_attributes"`
	Keep       bool     `json:"keep_identifying_resource_attributes"`
	Custom     bool     `json:"convert_histograms_to_nhcb"`
	Scope      bool     `json:"promote_scope_metadata"`
	Sanitize   bool     `json:"label_name_underscore_sanitization"`
	Preserve   bool     `json:"label_name_preserve_multiple_underscores"`
}

type answer struct {
	Protobuf []byte   `json:"protobuf"`
	Error    string   `json:"error"`
	Samples  []sample `json:"samples"`
}

// Floats are given by their bits, because JSON has no NaN.
type sample struct {
	Labels    [][2]string `json:"labels"`
	Start     int64       `json:"start"`
	Time      int64       `json:"time"`
	Value     string      `json:"value"`
	Histogram *native     `json:"histogram"`
	Exemplars []exemplar  `json:"exemplars"`
	Family    string      `json:"family"`
	Type      string      `json:"type"`
	Unit      string      `json:"unit"`
	Help      string      `json:"help"`
}

type native struct {
	Schema        int32      `json:"schema"`
	ZeroThreshold string     `json:"zero_threshold"`
	ZeroCount     uint64     `json:"zero_count"`
	Count         uint64     `json:"count"`
	Sum           string     `json:"sum"`
	Positive      [][2]int64 `json:"positive"`
	PositiveCount []int64    `json:"positive_deltas"`
	Negative      [][2]int64 `json:"negative"`
	NegativeCount []int64    `json:"negative_deltas"`
	Bounds        []string   `json:"bounds"`
	Invalid       string     `json:"invalid"`
}

type exemplar struct {
	Labels [][2]string `json:"labels"`
	Time   int64       `json:"time"`
	Value  string      `json:"value"`
}

func bits(value float64) string {
	return fmt.Sprintf("%016x", math.Float64bits(value))
}

func pairs(set labels.Labels) [][2]string {
	found := [][2]string{}
	set.Range(func(label labels.Label) {
		found = append(found, [2]string{label.Name, label.Value})
	})
	return found
}

func spans(all []histogram.Span) [][2]int64 {
	found := [][2]int64{}
	for _, span := range all {
		found = append(found, [2]int64{int64(span.Offset), int64(span.Length)})
	}
	return found
}

// Keeps what is appended.
type appender struct {
	samples []sample
}

func (a *appender) Append(_ storage.SeriesRef, set labels.Labels, start, time int64, value float64, h *histogram.Histogram, _ *histogram.FloatHistogram, options storage.AOptions) (storage.SeriesRef, error) {
	one := sample{
		Labels: pairs(set),
		Start:  start,
		Time:   time,
		Value:  bits(value),
		Family: options.MetricFamilyName,
		Type:   string(options.Metadata.Type),
		Unit:   options.Metadata.Unit,
		Help:   options.Metadata.Help,
	}
	if h != nil {
		n := &native{
			Schema:        h.Schema,
			ZeroThreshold: bits(h.ZeroThreshold),
			ZeroCount:     h.ZeroCount,
			Count:         h.Count,
			Sum:           bits(h.Sum),
			Positive:      spans(h.PositiveSpans),
			PositiveCount: append([]int64{}, h.PositiveBuckets...),
			Negative:      spans(h.NegativeSpans),
			NegativeCount: append([]int64{}, h.NegativeBuckets...),
			Bounds:        []string{},
		}
		for _, bound := range h.CustomValues {
			n.Bounds = append(n.Bounds, bits(bound))
		}
		if err := h.Validate(); err != nil {
			n.Invalid = err.Error()
		}
		one.Histogram = n
	}
	for _, e := range options.Exemplars {
		one.Exemplars = append(one.Exemplars, exemplar{pairs(e.Labels), e.Ts, bits(e.Value)})
	}
	a.samples = append(a.samples, one)
	return 0, nil
}

func (*appender) Commit() error   { return nil }
func (*appender) Rollback() error { return nil }

func translate(line []byte) answer {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return answer{Error: "the line: " + err.Error()}
	}
	decoded := pmetricotlp.NewExportRequest()
	if err := decoded.UnmarshalJSON(r.Request); err != nil {
		return answer{Error: "decoding: " + err.Error()}
	}
	protobuf, err := decoded.MarshalProto()
	if err != nil {
		return answer{Error: "encoding: " + err.Error()}
	}
	strategy := otlptranslator.TranslationStrategyOption(r.Settings.Strategy)
	promote := prw.NewPromoteResourceAttributes(config.OTLPConfig{
		PromoteAllResourceAttributes: r.Settings.PromoteAll,
		PromoteResourceAttributes:    r.Settings.Promote,
		IgnoreResourceAttributes:     r.Settings.Ignore,
	})
	a := &appender{}
	_, err = prw.NewPrometheusConverter(a).FromMetrics(context.Background(), decoded.Metrics(), prw.Settings{
		AddMetricSuffixes:                    strategy.ShouldAddSuffixes(),
		AllowUTF8:                            !strategy.ShouldEscape(),
		PromoteResourceAttributes:            promote,
		KeepIdentifyingResourceAttributes:    r.Settings.Keep,
		ConvertHistogramsToNHCB:              r.Settings.Custom,
		PromoteScopeMetadata:                 r.Settings.Scope,
		LabelNameUnderscoreSanitization:      r.Settings.Sanitize,
		LabelNamePreserveMultipleUnderscores: r.Settings.Preserve,
	})
	found := answer{Protobuf: protobuf, Samples: a.samples}
	if err != nil {
		found.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return found
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			return
		}
		if err := out.Encode(translate(line)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
