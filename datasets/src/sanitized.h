#pragma once
/// \file
/// IVF_HELPER_SANITIZED: this is built with a sanitizer, whose runtime maps terabytes and reads files of its own.

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IVF_HELPER_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IVF_HELPER_SANITIZED 1
#endif
#endif
