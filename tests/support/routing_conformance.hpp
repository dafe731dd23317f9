#pragma once
#include <moegrad/testing/router_conformance.hpp>  // lives where outside projects find it too
