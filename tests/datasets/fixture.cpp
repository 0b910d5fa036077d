#include "fixture.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sstream>

#include "support/catch.hpp"

namespace ivf::datasets::test {

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string read_bytes(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

Matrix small_integers(std::size_t rows, std::size_t dim) {
  Matrix matrix{dim, std::vector<float>(rows * dim)};
  for (std::size_t i = 0; i < matrix.values.size(); ++i) matrix.values[i] = static_cast<float>(i * 37 % 101);
  return matrix;
}

Matrix read_matrix(const std::string& spec, const ReadOptions& options, std::size_t batch) {
  const auto reader = open_reader(spec, options);
  Matrix matrix{reader->dim(), {}};
  std::vector<float> rows(batch * matrix.dim);
  while (const std::size_t count = reader->read(rows.data(), batch)) {
    matrix.values.insert(matrix.values.end(), rows.begin(),
                         rows.begin() + static_cast<std::ptrdiff_t>(count * matrix.dim));
  }
  REQUIRE(reader->read(rows.data(), batch) == 0);
  if (reader->rows()) REQUIRE(*reader->rows() == matrix.rows());
  return matrix;
}

std::vector<idx_t> read_id_matrix(const std::string& spec, const ReadOptions& options) {
  const auto reader = open_reader(spec, options);
  return read_all_ids(*reader);
}

void write_matrix(const std::string& spec, const Matrix& matrix, WriteOptions options, std::size_t batch) {
  options.dim = matrix.dim;
  const auto writer = open_writer(spec, options);
  for (std::size_t row = 0; row < matrix.rows(); row += batch) {
    writer->write(matrix.values.data() + row * matrix.dim, std::min(batch, matrix.rows() - row));
  }
  writer->finish();
}

std::vector<float> slice(const Matrix& matrix, std::size_t first, std::size_t count) {
  const auto begin = matrix.values.begin() + static_cast<std::ptrdiff_t>(first * matrix.dim);
  return {begin, begin + static_cast<std::ptrdiff_t>(count * matrix.dim)};
}

void require_refused(ErrorKind kind, std::initializer_list<std::string> parts, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    const std::string message = error.what();
    INFO(message);
    CHECK(error.kind() == kind);
    CHECK(message.find('\n') == std::string::npos);
    for (const std::string& part : parts) {
      INFO("expected: " << part);
      CHECK(message.find(part) != std::string::npos);
    }
    return;
  }
  FAIL("nothing was refused");
}

StandardInput::StandardInput(std::string bytes) : bytes_(std::move(bytes)) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  saved_ = dup(STDIN_FILENO);
  REQUIRE(dup2(ends[0], STDIN_FILENO) == STDIN_FILENO);
  close(ends[0]);
  // A reader that stops early must not end the test program.
  std::signal(SIGPIPE, SIG_IGN);
  feeder_ = std::thread([this, end = ends[1]] {
    std::size_t at = 0;
    while (at < bytes_.size()) {
      // Odd sizes, so that records arrive in pieces.
      const ssize_t sent = write(end, bytes_.data() + at, std::min<std::size_t>(bytes_.size() - at, 4099));
      if (sent <= 0) break;
      at += static_cast<std::size_t>(sent);
    }
    close(end);
  });
}

StandardInput::~StandardInput() {
  dup2(saved_, STDIN_FILENO);  // closes the reading end
  close(saved_);
  feeder_.join();
}

std::string captured_output(const std::function<void()>& action) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  std::string received;
  std::thread collector([&received, end = ends[0]] {
    std::vector<char> buffer(65536);
    for (ssize_t got; (got = read(end, buffer.data(), buffer.size())) > 0;) {
      received.append(buffer.data(), static_cast<std::size_t>(got));
    }
    close(end);
  });
  fflush(stdout);
  const int saved = dup(STDOUT_FILENO);
  dup2(ends[1], STDOUT_FILENO);
  close(ends[1]);
  std::exception_ptr failure;
  try {
    action();
  } catch (...) {
    failure = std::current_exception();
  }
  dup2(saved, STDOUT_FILENO);
  close(saved);
  collector.join();
  if (failure) std::rethrow_exception(failure);
  return received;
}

std::size_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace ivf::datasets::test
