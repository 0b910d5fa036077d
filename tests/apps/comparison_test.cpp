#include "bench/comparison.h"

#include <vector>

#include "support/catch.hpp"

using namespace ivf::bench;

namespace {

const std::vector<double> base{10, 10.1, 9.9, 10, 10.05}, slow{15, 15.1, 14.9, 15, 15.05};

Verdict verdict(const std::vector<double>& before, const std::vector<double>& after, const Machine& machine = {}) {
  return judge_times("search_ms", before, after, machine, 0.05).verdict;
}

}  // namespace

TEST_CASE("times on a steady machine are judged by their interval") {
  CHECK(verdict(base, base) == Verdict::same);
  CHECK(verdict(base, slow) == Verdict::slower);
  CHECK(verdict(slow, base) == Verdict::faster);
  CHECK(verdict({10, 14, 9, 12, 11}, {11, 10, 15, 9, 12}) == Verdict::unclear);
}

TEST_CASE("a slow-down that the quickest run does not share is noise") {
  CHECK(verdict(base, {15, 15.1, 14.9, 15, 10}) == Verdict::unclear);
}

TEST_CASE("what the machine lost is no slow-down of the program") {
  Machine machine;
  machine.ratio = 1.5;
  machine.cpu = {1.5, 1.45, 1.55, 0.95};
  CHECK(verdict(base, slow, machine) == Verdict::unclear);
  machine.ratio = 1.1;
  CHECK(verdict(base, slow, machine) == Verdict::slower);
  // Waiting for a CPU is not work.
  machine.cpu = {1, 0.99, 1.01, 0.95};
  CHECK(verdict(base, slow, machine) == Verdict::unclear);
  // Nor is waiting when the probe slipped through.
  machine.ratio = 1;
  machine.shared = true;
  CHECK(verdict(base, slow, machine) == Verdict::unclear);
  // Alone on the machine, the same is a loss of parallel work.
  machine.shared = false;
  CHECK(verdict(base, slow, machine) == Verdict::slower);
}

TEST_CASE("a quicker machine may hide a slow-down, and that is said") {
  Machine machine;
  machine.ratio = 0.5;
  machine.cpu = {0.9, 0.85, 0.95, 0.95};
  CHECK(verdict(base, base, machine) == Verdict::unclear);
  machine.ratio = 0.99;
  CHECK(verdict(base, base, machine) == Verdict::same);
}

TEST_CASE("one time is taken for what it is") {
  CHECK(verdict({10}, {10.4}) == Verdict::same);
  CHECK(verdict({10}, {10.6}) == Verdict::slower);
}
