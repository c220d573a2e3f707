"""Events that are kept to be labelled and learnt from: which, where, and who may fetch them."""
