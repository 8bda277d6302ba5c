"""The linear operator, what is made of operators, and operators in bounded memory."""
