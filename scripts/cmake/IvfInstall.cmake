# Installation rules of the package as a whole (find_package(ivf)).
