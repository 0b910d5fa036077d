#pragma once
/// \file
/// Catch2 v2 and v3 under one name.
#ifdef IVF_CATCH2_V2
#include <catch2/catch.hpp>
#else
#include <catch2/catch_all.hpp>
using Catch::Matchers::Contains;
namespace Catch {
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;
}
#endif
