// Generated sources: the same numbers on every machine, from wherever one starts.

#include <cmath>

#include "fixture.h"
#include "ivf/philox.hpp"
#include "normal.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

namespace {

struct Moments {
  double mean = 0;
  double variance = 0;
};

Moments moments(const std::vector<float>& values) {
  Moments result;
  for (const float value : values) result.mean += value;
  result.mean /= static_cast<double>(values.size());
  for (const float value : values) result.variance += (value - result.mean) * (value - result.mean);
  result.variance /= static_cast<double>(values.size());
  return result;
}

}  // namespace

// Computed by another program, from the definition of Philox4x32-10 and Python's statistics.NormalDist.
TEST_CASE("generated: pinned values") {
  CHECK(read_matrix("gaussian:n=2,d=3,seed=7").values == std::vector<float>{-0x1.82fa56p-1f, 0x1.a7895cp-3f,
                                                                            -0x1.02c98ep-2f, -0x1.09458cp1f,
                                                                            0x1.3b1408p0f, -0x1.bf4accp-1f});
  CHECK(read_matrix("uniform:n=2,d=3,seed=7,low=-1,high=3").values ==
        std::vector<float>{-0x1.9b921ep-4f, 0x1.53e28ep0f, 0x1.33b1d4p-1f, -0x1.d8db92p-1f, 0x1.481676p1f,
                           -0x1.e1fd86p-3f});
  CHECK(read_matrix("clustered:n=2,d=3,seed=7,clusters=5,spread=0.5").values ==
        std::vector<float>{0x1.46cb1p-2f, -0x1.2abe4ap0f, 0x1.3e8586p-2f, -0x1.5b50cap-2f, -0x1.4f59b6p-1f,
                           0x1.3f01bep-11f});
  CHECK(read_matrix("gaussian:n=1000000000000,d=2", {.start = 999999999999}).values ==
        std::vector<float>{-0x1.711558p-3f, -0x1.2c644ep-2f});
}

TEST_CASE("generated: a row depends on its place alone") {
  for (const std::string spec : {"gaussian:n=500,d=37,seed=3", "uniform:n=500,d=37,seed=3",
                                 "clustered:n=500,d=37,seed=3", "gaussian:n=24,d=65536", "clustered:n=5000,d=1"}) {
    CAPTURE(spec);
    const Matrix all = read_matrix(spec);
    for (const std::size_t batch : {1, 7, 499}) CHECK((read_matrix(spec, {}, batch).values == all.values));
    CHECK((read_matrix(spec, {.start = 11, .count = 13}).values == slice(all, 11, 13)));
    CHECK((read_matrix(spec, {.start = all.rows() - 1}).values == slice(all, all.rows() - 1, 1)));
  }
}

TEST_CASE("generated: another seed, other numbers; more rows, the same first ones") {
  for (const std::string kind : {"gaussian", "uniform", "clustered"}) {
    const Matrix base = read_matrix(kind + ":n=10,d=8,seed=1");
    CHECK((read_matrix(kind + ":d=8,seed=1,n=20", {.count = 10}).values == base.values));
    CHECK(read_matrix(kind + ":n=10,d=8,seed=2").values != base.values);
    CHECK(read_matrix(kind + ":n=10,d=8").values == read_matrix(kind + ":n=10,d=8,seed=0").values);
    CHECK(read_matrix(kind + ":n=10,d=8,seed=18446744073709551615").values != base.values);
  }
}

TEST_CASE("generated: the distributions are what they are called") {
  const Moments normal = moments(read_matrix("gaussian:n=20000,d=50,seed=5").values);
  CHECK(std::abs(normal.mean) < 0.005);
  CHECK(std::abs(normal.variance - 1) < 0.007);
  const Moments uniform = moments(read_matrix("uniform:n=20000,d=50,seed=5,low=2,high=5").values);
  CHECK(std::abs(uniform.mean - 3.5) < 0.005);
  CHECK(std::abs(uniform.variance - 0.75) < 0.005);
  for (const float value : read_matrix("uniform:n=1000,d=50,low=-1,high=-0.5").values) {
    if (!(value >= -1 && value <= -0.5f)) FAIL(value);
  }
}

TEST_CASE("generated: clusters are tight, and all of them are used") {
  const Matrix rows = read_matrix("clustered:n=2000,d=16,clusters=8,spread=0.001");
  std::vector<std::size_t> members;  // first row of each cluster met
  std::vector<int> sizes;
  for (std::size_t i = 0; i < rows.rows(); ++i) {
    const auto near = [&](std::size_t other) {
      double distance = 0;
      for (std::size_t j = 0; j < 16; ++j) distance += std::abs(rows.values[i * 16 + j] - rows.values[other * 16 + j]);
      return distance < 0.5;
    };
    const auto found = std::find_if(members.begin(), members.end(), near);
    if (found == members.end()) {
      members.push_back(i);
      sizes.push_back(1);
    } else {
      ++sizes[static_cast<std::size_t>(found - members.begin())];
    }
  }
  CHECK(members.size() == 8);
  for (const int size : sizes) CHECK((size > 190 && size < 310));
}

TEST_CASE("generated: the quantile function against its inverse") {
  // erfc is good to some 1e-16, and its error is enlarged by up to the square of the quantile.
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 1234567) {
    const double p = (static_cast<double>(bits) + 0.5) * 0x1p-32;
    const double z = normal_quantile(static_cast<std::uint32_t>(bits));
    const double back = 0.5 * std::erfc(-z / std::sqrt(2.0));
    if (std::abs(back - p) > 1e-13 * p) FAIL("p = " << p << ", quantile " << z << ", back " << back);
    if (normal_quantile(~static_cast<std::uint32_t>(bits)) != -z) FAIL("not symmetric at " << p);
  }
  CHECK(normal_quantile(0) == -normal_quantile(0xffffffffu));
}

TEST_CASE("generated: batches of numbers are the sequence of the generator") {
  const Philox source(11, 22);
  std::vector<double> normal(5000);
  std::vector<double> uniform(5000);
  fill_normal(source, 3, normal.size(), normal.data());
  fill_uniform(source, 3, uniform.size(), uniform.data());
  for (std::size_t i = 0; i < normal.size(); ++i) {
    const std::uint32_t bits = source.block((i + 3) / 4)[(i + 3) % 4];
    if (normal[i] != normal_quantile(bits)) FAIL("normal number " << i);
    if (uniform[i] != bits * 0x1p-32) FAIL("uniform number " << i);
  }
}

TEST_CASE("generated: options that make no sense are refused") {
  constexpr auto kind = ErrorKind::misuse;
  const auto refuse = [](const std::string& spec, std::initializer_list<std::string> parts) {
    CAPTURE(spec);
    require_refused(kind, parts, [&] { open_reader(spec); });
  };
  refuse("gaussian:", {"n is missing", "gaussian:n=1000,d=64"});
  refuse("gaussian:n=5", {"d is missing"});
  refuse("gaussian:n=5,d=0", {"d from 1 to 65536, found 0"});
  refuse("gaussian:n=5,d=65537", {"found 65537"});
  refuse("gaussian:n=1099511627777,d=1", {"n from 0 to 1099511627776"});
  refuse("gaussian:n=-5,d=1", {"whole number for n, found '-5'"});
  refuse("gaussian:n=1e3,d=1", {"found '1e3'"});
  refuse("gaussian:n=,d=1", {"found ''"});
  refuse("gaussian:n=18446744073709551616,d=1", {"whole number for n"});
  refuse("gaussian:n=5,d=1,low=2", {"'low=2' is no option of gaussian", "known are n, d, seed"});
  refuse("gaussian:n=5,d=1,seed", {"'seed' is no option"});
  refuse("gaussian:n=5,n=5,d=1", {"'n' is given twice"});
  refuse("uniform:n=5,d=1,low=1,high=1", {"low < high"});
  refuse("uniform:n=5,d=1,low=1e39", {"finite"});
  refuse("uniform:n=5,d=1,high=nan", {"finite"});
  refuse("uniform:n=5,d=1,high=2x", {"a number for high, found '2x'"});
  refuse("clustered:n=5,d=1,clusters=0", {"clusters from 1"});
  refuse("clustered:n=5,d=1,spread=-1", {"spread to be at least 0"});
  require_refused(kind, {"ids must be integers"}, [] { read_id_matrix("gaussian:n=5,d=1"); });
  require_refused(kind, {"start at row 6", "5 rows"}, [] { open_reader("gaussian:n=5,d=1", {.start = 6}); });
}
