// A file of its own, so that a test can link another definition in its place.

#include "bench/measure.h"

namespace ivf::bench {

void after_timed_call(double) {}

}  // namespace ivf::bench
