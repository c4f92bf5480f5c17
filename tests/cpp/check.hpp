// The test harness: TEST(name_as_a_sentence) { CHECK(...); }, and CHECK_MAIN() at the end of the file.
//
// A failed check prints where and what, and the test goes on. The program takes parts of names to select tests, prints
// "N passed, M failed" last, and returns non-zero if any failed or none ran. Checks may run in any thread.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>
#include <vector>

namespace check {

struct Test {
    const char* name;
    void (*body)();
};
inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}
inline bool add(const char* name, void (*body)()) {
    tests().push_back({name, body});
    return true;
}

inline std::mutex mutex;
inline int failures = 0;  // of the running test

inline void fail(const char* file, int line, const char* what, const char* detail = "") {
    const std::lock_guard<std::mutex> lock(mutex);
    ++failures;
    std::printf("%s:%d: %s%s%s\n", file, line, what, *detail ? ": " : "", detail);
}

inline void near(const char* file, int line, const char* what, double got, double want, double tolerance) {
    if (std::fabs(got - want) <= tolerance) return;  // false for NaN
    char detail[128];
    std::snprintf(detail, sizeof detail, "got %.17g, expected %.17g +- %.3g", got, want, tolerance);
    fail(file, line, what, detail);
}

template <class Exception, class Body>
void throws(const char* file, int line, const char* what, const char* text, const Body& body) {
    try {
        body();
    } catch (const Exception& error) {
        if (!std::strstr(error.what(), text)) fail(file, line, what, error.what());
        return;
    } catch (const std::exception& error) {
        return fail(file, line, "wrong exception", error.what());
    }
    fail(file, line, what, "nothing was thrown");
}

inline int run(int argc, char** argv) {
    int passed = 0, failed = 0;
    for (const Test& test : tests()) {
        bool selected = argc < 2;
        for (int i = 1; i < argc; ++i) selected |= std::strstr(test.name, argv[i]) != nullptr;
        if (!selected) continue;
        failures = 0;
        try {
            test.body();
        } catch (const std::exception& error) {
            fail(test.name, 0, "uncaught exception", error.what());
        }
        ++(failures ? failed : passed);
        if (failures) std::printf("FAILED %s\n", test.name);
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}

}  // namespace check

#define TEST(name)                                              \
    static void name();                                         \
    static const bool name##_added = check::add(#name, &name);  \
    static void name()
#define CHECK(...) ((__VA_ARGS__) ? void() : check::fail(__FILE__, __LINE__, #__VA_ARGS__))
// |got - want| <= tolerance
#define CHECK_NEAR(got, want, tolerance) check::near(__FILE__, __LINE__, #got, (got), (want), (tolerance))
// The statement throws Exception, and its message contains the text.
#define CHECK_THROWS(Exception, text, ...) \
    check::throws<Exception>(__FILE__, __LINE__, #__VA_ARGS__, text, [&] { __VA_ARGS__; })
#define CHECK_MAIN() \
    int main(int argc, char** argv) { return check::run(argc, argv); }
