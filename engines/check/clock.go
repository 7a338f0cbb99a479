package check

import (
	"debug/elf"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

// judgeClock judges the evidence by the time at which it was made. It finds what a
// second run a moment later cannot show: the date.
func (b *bench) judgeClock() error {
	given, err := b.given()
	if err != nil {
		return err
	}
	texts, err := b.evidence()
	if err != nil {
		return err
	}
	why := b.clockUnvaried()
	facts := timeFacts(b.begun, b.ended)
	if why == "" { // the second run would have shown the coarse ones
		facts = slices.DeleteFunc(facts, func(f fact) bool { return f.weak })
	}
	hits := search(texts, facts, given)
	switch {
	case len(hits) > 0:
		b.found(PlanClock, hits)
	case why == "" && b.o.FixedClock:
		b.addf(PlanClock, Pass, "no evidence holds the time of the run, and the engine has no clock that goes on")
	case why == "":
		b.addf(PlanClock, Pass, "no evidence holds the time of the run, whose clock was another in plan-repeat")
	default:
		b.addf(PlanClock, Skip, "%s; a search of the evidence found neither the date nor the time, which proves little", why)
	}
	return nil
}

// clockUnvaried says why the second run had the same clock as the first one, ""
// where it had another.
func (b *bench) clockUnvaried() string {
	switch {
	case b.o.FixedClock:
		return ""
	case !b.repeated:
		return "the clock was not varied, as plan-repeat is left out"
	case b.o.Faketime == "":
		return "the clock cannot be varied here: libfaketime is not installed, or does not work with the engine"
	case !preloads(b.o.Argv[0]):
		return "the clock cannot be varied: libfaketime does not reach Go or static programs"
	}
	return ""
}

// preloads says whether a library that is preloaded reaches a program: one that is
// linked statically loads none, and one in Go asks the kernel for the time.
func preloads(at string) bool {
	if interpreter := interpreterOf(at); interpreter != "" {
		at = interpreter
	}
	f, err := elf.Open(at)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // only read
	dynamic := slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	return dynamic && f.Section(".go.buildinfo") == nil
}

// timeFacts gives what evidence must not hold of the time between two moments.
func timeFacts(begin, end time.Time) []fact {
	facts := []fact{{name: "when it was made", forms: timeForms(begin, end)}}
	seen := map[string]bool{}
	for _, at := range []time.Time{begin.UTC(), end.UTC()} {
		if day := at.Format(time.DateOnly); seen[day] {
			continue
		}
		seen[at.Format(time.DateOnly)] = true
		isoYear, week := at.ISOWeek()
		year, day := at.Year(), at.YearDay()
		sunday := (day + 6 - int(at.Weekday())) / 7
		monday := (day + 6 - (int(at.Weekday())+6)%7) / 7
		facts = append(facts,
			fact{name: "the month in which it was made", whole: true, forms: []string{at.Format("2006-01"), at.Format("200601")}},
			fact{name: "the day of the year on which it was made", whole: true, forms: []string{
				fmt.Sprintf("%d-%03d", year, day), fmt.Sprintf("%d%03d", year, day),
			}},
			fact{name: "the week in which it was made", whole: true, forms: []string{
				fmt.Sprintf("%d-w%02d", isoYear, week), fmt.Sprintf("%dw%02d", isoYear, week),
			}},
			fact{name: "the year in which it was made", whole: true, forms: []string{strconv.Itoa(year), strconv.Itoa(isoYear)}},
			fact{name: "the day of the year", whole: true, weak: true, near: []string{"day", "doy"}, forms: []string{
				fmt.Sprintf("%03d", day), strconv.Itoa(day),
			}},
			fact{name: "the number of the week", whole: true, weak: true, near: []string{"week", "kw"}, forms: weeks(week, sunday, monday)})
	}
	return facts
}

func weeks(numbers ...int) []string {
	var out []string
	for _, n := range numbers {
		out = append(out, fmt.Sprintf("w%02d", n), fmt.Sprintf("kw%02d", n), fmt.Sprintf("%02d", n), strconv.Itoa(n))
	}
	return out
}

// timeForms gives how programs write the moments between two times.
func timeForms(begin, end time.Time) []string {
	seen := map[string]bool{}
	var out []string
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	at := begin.UTC().Add(-time.Second)
	for n := 0; n < limits.CheckSpan && !at.After(end.Add(time.Second)); n++ {
		for _, layout := range []string{
			time.DateOnly, "20060102", "02.01.2006", "01/02/2006", "02/01/2006", "2006/01/02", "Jan _2 15:04", "02 Jan 2006", "2 Jan 2006", "January 2, 2006", "2 January 2006", time.TimeOnly,
		} {
			add(at.Format(layout))
		}
		add(strconv.FormatInt(at.Unix(), 10)) // also the beginning of milliseconds and nanoseconds
		at = at.Add(time.Second)
	}
	return out
}
