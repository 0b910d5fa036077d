#pragma once
/// \file
/// What the tests of the data sets share: bytes, matrices, pipes, and expected refusals.

#include <cstring>
#include <functional>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#include "ivf/datasets/datasets.hpp"
#include "ivf/error.hpp"
#include "support/temporary_directory.h"

namespace ivf::datasets::test {

/// The bytes of some values, in order, as they lie in memory.
template <class... Values>
std::string bytes(const Values&... values) {
  std::string result;
  (result.append(reinterpret_cast<const char*>(&values), sizeof(values)), ...);
  return result;
}

template <class Value>
std::string bytes_of(const std::vector<Value>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value)};
}

void write_bytes(const std::string& path, const std::string& bytes);
std::string read_bytes(const std::string& path);

struct Matrix {
  std::size_t dim = 0;
  std::vector<float> values;
  std::size_t rows() const { return values.size() / dim; }
};

/// rows x dim whole numbers in 0..100: every element type holds them.
Matrix small_integers(std::size_t rows, std::size_t dim);

/// Reads all that a source has, `batch` rows at a time.
Matrix read_matrix(const std::string& spec, const ReadOptions& options = {}, std::size_t batch = 1000);
std::vector<idx_t> read_id_matrix(const std::string& spec, const ReadOptions& options = {});

/// Writes a matrix, `batch` rows at a time.
void write_matrix(const std::string& spec, const Matrix& matrix, WriteOptions options, std::size_t batch = 1000);

/// Rows first .. first + count of a matrix.
std::vector<float> slice(const Matrix& matrix, std::size_t first, std::size_t count);

/// Requires that `action` throws ivf::Error of this kind, in one line that contains all of `parts`.
void require_refused(ErrorKind kind, std::initializer_list<std::string> parts, const std::function<void()>& action);

/// While it lives, standard input is a pipe that delivers `bytes`.
class StandardInput {
 public:
  explicit StandardInput(std::string bytes);
  ~StandardInput();
  StandardInput(const StandardInput&) = delete;
  StandardInput& operator=(const StandardInput&) = delete;

 private:
  std::string bytes_;
  int saved_ = -1;
  std::thread feeder_;
};

/// Runs `action` with standard output in a pipe and returns what arrived there.
std::string captured_output(const std::function<void()>& action);

/// The process's largest resident set so far, in bytes.
std::size_t peak_memory();

}  // namespace ivf::datasets::test
