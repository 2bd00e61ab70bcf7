# Guards read the tree and the built objects and say what breaks a rule of the house.
