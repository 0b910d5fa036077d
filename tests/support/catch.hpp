#pragma once
/// \file
/// Catch2 v2 and v3 under one name. `Contains("text")` matches strings that hold the text.
#ifdef IVF_CATCH2_V2
#include <catch2/catch.hpp>
using Catch::Matchers::Contains;
#else
#include <catch2/catch_all.hpp>
inline auto Contains(const std::string& text) { return Catch::Matchers::ContainsSubstring(text); }
#endif
