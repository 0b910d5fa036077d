#pragma once
/// \file
/// Timed runs of several contenders that take turns.

#include <functional>
#include <vector>

#include "bench/engine.h"

namespace ivf::bench {

/// A library with the way in which it is to search.
struct Contender {
  const Engine* engine = nullptr;
  SearchSettings settings;
  const Searcher* searcher = nullptr;  ///< What searches in the engine's place; null: the engine.
};

/// How runs are made.
struct Protocol {
  std::size_t warmup = 1;
  std::size_t repeat = 5;
  /// Wait before every timed run, in milliseconds. Threads of an OpenMP library spin for a while after their work; they
  /// must not do so at the expense of the next contender.
  double settle_ms = 0;
};

/// A run searches all queries once, `batch` of them a call.
struct Batches {
  MatrixView queries;  ///< A multiple of `batch` rows.
  std::size_t batch = 1;
  std::size_t count() const noexcept { return queries.rows / batch; }
};

/// What the timed runs of one contender gave.
struct Measurement {
  std::vector<double> batch_ms;     ///< One value a run: wall clock of a batch, averaged over the run.
  std::vector<double> latency_ms;   ///< One value a call, of all runs.
  std::vector<double> cpu_ms;       ///< One value a run: CPU time of all threads, a batch.
  std::vector<double> preemptions;  ///< One value a run: how often a thread lost its CPU to other work, a batch.
  std::vector<double> probe_ms;     ///< One value a run: a fixed piece of arithmetic, timed just before it.
  std::uint64_t peak_bytes = 0;     ///< Largest resident memory of the process during the runs; 0: not known.
  std::vector<SearchStats> stats;   ///< One value a run: sums over its batches.
  SearchResult result;              ///< Of all queries, from the last run, with its stats.

  /// The run whose time is the median, or next to it.
  std::size_t median_run() const;
};

/// Called between calls, so that an interrupt is noticed and progress is shown: runs done and in all.
using Between = std::function<void(std::size_t done, std::size_t total)>;

/// Runs every contender `warmup + repeat` times. In each round every contender has one run, and the order turns round
/// from one round to the next, so that a drift of the machine's speed meets all of them alike.
std::vector<Measurement> measure(const std::vector<Contender>& contenders, const Batches& batches,
                                 const Protocol& protocol, const Between& between);

/// Adds what a batch did to the sums of a run.
void accumulate(SearchStats& total, const SearchStats& batch);
/// Adds a batch's results, and what it did, to those of a run.
void append(SearchResult& all, const SearchResult& batch);

/// Called with the wall clock of a timed call, before its end is read. Does nothing; the tests of `ivf compare` link
/// another definition, which takes its time.
void after_timed_call(double milliseconds);

}  // namespace ivf::bench
