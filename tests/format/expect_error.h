#pragma once
// Checks of the project's exception.

#include <string>

#include "ivf/error.hpp"
#include "support/catch.hpp"

namespace ivf::test {

/// The action throws an ivf::Error of this kind whose message is one line that contains `words`.
template <typename Action>
void expect_error(ErrorKind kind, const std::string& words, Action action) {
  bool thrown = false;
  try {
    action();
  } catch (const Error& error) {
    thrown = true;
    const std::string message = error.what();
    INFO("message: " << message);
    CHECK(static_cast<int>(error.kind()) == static_cast<int>(kind));
    INFO("expected words: " << words);
    CHECK(message.find(words) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  }
  INFO("expected an error: " << words);
  CHECK(thrown);
}

}  // namespace ivf::test
